from pathlib import Path

import numpy as np
import pytest
from torch import nn

from pipeline.cluster.leakage import refuse_leakage, trained_labels
from pipeline.config import CorpusConfig, EncoderConfig, GlyphsConfig, SourceConfig, TransformConfig
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, save_checkpoint
from pipeline.errors import InputError
from pipeline.storage.workspace import Workspace

SOURCE = SourceConfig(glyphs=GlyphsConfig(max_labels=30, image_size=16))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(str(tmp_path), "main")


def corpus(workspace: Workspace, test_fraction: float) -> Corpus:
    prepare(CorpusConfig(source=SOURCE, test_fraction=test_fraction), workspace, 0, "c" * 64)
    return Corpus.open(workspace)


def checkpoint(
    workspace: Workspace, step: int, fingerprint: str, run: str = "main", pretrained: str | None = None
) -> CheckpointManifest:
    manifest, _ = save_checkpoint(
        checkpoints(Workspace(workspace.store, run)),
        step=step,
        encoder_module=nn.Linear(1, 1),
        encoder_config=EncoderConfig(pretrained=pretrained),
        transform_config=TransformConfig(),
        trainer_state={},
        corpus_fingerprint=fingerprint,
        generation=None,
        metrics={},
        seed=0,
        config_digest="c" * 64,
        parent=None,
    )
    return manifest


def test_a_checkpoint_has_seen_the_training_labels_of_its_corpus_and_no_test_label(workspace: Workspace) -> None:
    found = corpus(workspace, 0.4)
    seen = trained_labels(workspace, checkpoint(workspace, 5, found.fingerprint), found)
    assert seen is not None
    assert set(np.flatnonzero(seen)) == set(found.labels[~found.is_test])


def test_the_untrained_encoder_has_seen_nothing(workspace: Workspace) -> None:
    seen = trained_labels(workspace, checkpoint(workspace, 0, "f" * 64), corpus(workspace, 0.4))
    assert seen is not None and not seen.any()


def test_labels_seen_under_an_earlier_split_are_found(workspace: Workspace) -> None:
    earlier = corpus(workspace, 0.2)
    trained = checkpoint(workspace, 5, earlier.fingerprint)
    later = corpus(workspace, 0.7)
    seen = trained_labels(workspace, trained, later)
    assert seen is not None
    leaked = {later.label_names[code] for code in np.unique(later.labels[later.is_test]) if seen[code]}
    before = {earlier.label_names[code] for code in np.unique(earlier.labels[~earlier.is_test])}
    assert leaked == before & {later.label_names[code] for code in later.labels[later.is_test]} != set()


def test_what_a_run_started_from_counts_too(workspace: Workspace) -> None:
    earlier = corpus(workspace, 0.2)
    checkpoint(workspace, 5, earlier.fingerprint, run="first")
    later = corpus(workspace, 0.7)
    started = checkpoint(workspace, 3, later.fingerprint, run="second", pretrained="first:5")
    alone = trained_labels(workspace, checkpoint(workspace, 3, later.fingerprint, run="third"), later)
    seen = trained_labels(workspace, started, later)
    assert alone is not None and seen is not None
    assert seen.sum() > alone.sum() and (seen | alone == seen).all()


@pytest.mark.parametrize("pretrained", [None, "weights.safetensors", "gone:3"])
def test_what_cannot_be_known_is_not_guessed(workspace: Workspace, pretrained: str | None) -> None:
    found = corpus(workspace, 0.4)
    fingerprint = "f" * 64 if pretrained is None else found.fingerprint
    assert trained_labels(workspace, checkpoint(workspace, 5, fingerprint, pretrained=pretrained), found) is None


def test_a_leak_is_refused_by_number_and_name() -> None:
    trained = np.array([True, False, True, True])
    names = ["ann", "bob", "cat", "dan"]
    refuse_leakage("main step 5", trained, np.array([1], dtype=np.int32), names)
    with pytest.raises(InputError, match=r"main step 5 was trained on 2 of the 3 labels .* the first 'cat'"):
        refuse_leakage("main step 5", trained, np.array([1, 2, 3], dtype=np.int32), names)
