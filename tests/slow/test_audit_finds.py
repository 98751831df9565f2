"""What the audit finds after a normal training run: labels that were shuffled, characters that look the same.

Run with -s to see the figures.
"""

import hashlib
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.config import GlyphsConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.sources.glyph_faces import choose_characters, draw_ink, font_files, load_font
from pipeline.corpus.sources.glyphs import FONT_SIZE, OVERSAMPLING
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.storage.workspace import Workspace
from tests.support.jobs import rounds, succeed
from tests.support.label_noise import Shuffled, shuffle_labels
from tests.support.lfw import lfw_folder, needs_lfw_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
SHARE, SEED = 0.05, 1
SHORT = rounds(300, 100)  # half of the demo's
FLOAT32 = ("--training.precision=float32", "--embed.precision=float32")  # few processors are fast in bfloat16
PAIR_REASONS = ("near_duplicate_across_labels", "mutual_neighbours_across_labels", "false_negative_suspect")


def trained_on_shuffled(
    place: Path, config: str, source: tuple[str, ...] = (), training: tuple[str, ...] = (), min_images: int = 1
) -> tuple[OpenGeneration, Shuffled]:
    """A run on shuffled labels, and the generation of its last checkpoint."""
    succeed("prepare", "--config", config, "--workspace", place / "true", *source)
    corpus = Corpus.open(Workspace.open(str(place / "true"), "main"))
    truth = shuffle_labels(corpus, SHARE, SEED, place / "s.parquet", min_images)
    flags: tuple[str | Path, ...] = (
        "--config",
        config,
        "--workspace",
        place / "w",
        "--corpus.source.kind=parquet",
        f"--corpus.source.path={truth.file}",
        *training,
    )
    succeed("prepare", *flags)
    succeed("loop", *flags)
    succeed("mine", *flags)  # of the last checkpoint, which the loop has no use for
    return open_generation(Workspace.open(str(place / "w"), "main")), truth


def judge(generation: OpenGeneration, truth: Shuffled) -> dict[str, float]:
    """Precision of the label-noise list's first per cent of the training examples, and its average precision."""
    corpus = generation.corpus
    is_wrong, is_train = truth.is_wrong(corpus), ~corpus.is_test
    listed = generation.reader.quarantine().to_pandas().query("reason == 'label_noise_suspect'")
    ids, score = listed["example_id"].to_numpy(), np.full(corpus.num_examples, -1.0)
    score[ids] = listed["score"]
    first = ids[: int(is_train.sum()) // 100]
    return {
        "precision_in_first_per_cent": float(is_wrong[first].mean()),
        "average_precision": float(average_precision_score(is_wrong[is_train], score[is_train])),
        "precision": float(is_wrong[ids].mean()),
        "recall": float(is_wrong[ids].sum() / is_wrong[is_train].sum()),
    }


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenGeneration, Shuffled]:
    return trained_on_shuffled(tmp_path_factory.mktemp("glyphs"), "jobs/configs/demo.yaml", training=SHORT)


def test_shuffled_labels_of_characters_lead_the_list(glyphs: tuple[OpenGeneration, Shuffled]) -> None:
    figures = judge(*glyphs)
    print(f"\nglyphs, {SHARE:.0%} shuffled: {figures}")
    assert figures["precision_in_first_per_cent"] >= 0.8
    assert figures["average_precision"] >= 0.8


@needs_lfw_files
def test_shuffled_labels_of_faces_lead_the_list(tmp_path: Path) -> None:
    source = (f"--corpus.source.path={lfw_folder() / 'lfw-deepfunneled.tar'}",)
    training = (*rounds(200, 100), "--transform.height=48", "--transform.width=48", *FLOAT32)
    figures = judge(*trained_on_shuffled(tmp_path, "jobs/configs/lfw-view2.yaml", source, training, min_images=10))
    print(f"\nLFW, {SHARE:.0%} shuffled: {figures}")
    assert figures["precision_in_first_per_cent"] >= 0.8


def identical_characters() -> set[tuple[str, str]]:
    """Pairs of labels that one font, which both were drawn in, draws alike to the pixel."""
    config = GlyphsConfig()
    characters = choose_characters(config)
    size = round(config.image_size * OVERSAMPLING * FONT_SIZE)
    pairs = set()
    for name in font_files():
        font, alike = load_font(name, size), defaultdict(list)
        for character in characters:
            if name in character.fonts and (ink := draw_ink(font, chr(character.code))):
                digest = hashlib.sha256(ink.mask.tobytes()).digest()
                alike[ink.mask.size, ink.top, digest].append(character.label)
        pairs |= {tuple(sorted(pair)) for labels in alike.values() for pair in itertools.combinations(labels, 2)}
    return pairs  # type: ignore[return-value]


def test_characters_that_are_identical_in_one_face_are_flagged(glyphs: tuple[OpenGeneration, Shuffled]) -> None:
    generation, _ = glyphs
    corpus, names = generation.corpus, generation.label_names
    trained = set(names[np.unique(corpus.labels[~corpus.is_test])])
    wanted = {pair for pair in identical_characters() if trained.issuperset(pair)}
    rows = generation.reader.quarantine().to_pandas()
    rows = rows[rows["reason"].isin(PAIR_REASONS)]
    sides = (names[corpus.labels[rows[column].astype(int)]] for column in ("example_id", "other_id"))
    flagged = {tuple(sorted(pair)) for pair in zip(*sides, strict=True)}
    share = len(flagged & wanted) / len(wanted)
    print(f"\n{len(wanted)} pairs of characters are identical in a face, {share:.1%} of them flagged")
    assert len(wanted) > 100 and share >= 0.9
