"""What the audit finds after a normal training run: labels that were shuffled, characters that look the same.

Run with -s to see the figures.
"""

import hashlib
import itertools
from collections import defaultdict

import numpy as np
import pytest

from pipeline.config import GlyphsConfig
from pipeline.corpus.sources.glyph_faces import choose_characters, draw_ink, font_files, load_font
from pipeline.corpus.sources.glyphs import FONT_SIZE, OVERSAMPLING
from pipeline.inspection.generation import OpenGeneration
from tests.support.jobs import rounds
from tests.support.label_noise import SHARE, Shuffled, judge, trained_on_shuffled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
NUM_LABELS = 1750  # of the demo's 2,532 characters
SHORT = rounds(100, 50)
PAIR_REASONS = ("near_duplicate_across_labels", "mutual_neighbours_across_labels", "false_negative_suspect")


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenGeneration, Shuffled]:
    place, source = tmp_path_factory.mktemp("glyphs"), (f"--corpus.source.glyphs.max_labels={NUM_LABELS}",)
    return trained_on_shuffled(place, "jobs/configs/demo.yaml", source, SHORT)


def test_shuffled_labels_of_characters_lead_the_list(glyphs: tuple[OpenGeneration, Shuffled]) -> None:
    figures = judge(*glyphs)
    print(f"\nglyphs, {SHARE:.0%} shuffled: {figures}")
    assert figures["precision_in_first_per_cent"] >= 0.8
    assert figures["average_precision"] >= 0.8


def identical_characters() -> set[tuple[str, str]]:
    """Pairs of labels that one font, which both were drawn in, draws alike to the pixel."""
    config = GlyphsConfig(max_labels=NUM_LABELS)
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
    assert len(wanted) > 50 and share >= 0.9
