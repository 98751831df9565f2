from pathlib import Path

import numpy as np
import pytest

from pipeline.config import CorpusConfig, EncoderConfig, GlyphsConfig, RunConfig, SourceConfig
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import InputError
from pipeline.stages.evaluate.leakage import check_leakage, trained_labels
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import parquet_config, write_vectors
from tests.unit.encoders import samples

SOURCE = SourceConfig(glyphs=GlyphsConfig(max_labels=30, image_size=16))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(str(tmp_path), "main")


def corpus(workspace: Workspace, test_fraction: float) -> Corpus:
    prepare(CorpusConfig(source=SOURCE, test_fraction=test_fraction), workspace, 0, "c" * 64)
    return Corpus.open(workspace)


def checkpoint(
    workspace: Workspace,
    step: int,
    fingerprint: str,
    run: str = "main",
    pretrained: str | None = None,
    parent: int | None = None,
) -> CheckpointManifest:
    return samples.checkpoint(
        Workspace(workspace.store, run),
        step,
        config=RunConfig(encoder=EncoderConfig(pretrained=pretrained)),
        corpus_fingerprint=fingerprint,
        parent=parent,
    )


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
    alone = trained_labels(
        Workspace(workspace.store, "third"), checkpoint(workspace, 3, later.fingerprint, run="third"), later
    )
    seen = trained_labels(Workspace(workspace.store, "second"), started, later)
    assert alone is not None and seen is not None
    assert seen.sum() > alone.sum() and (seen | alone == seen).all()


def test_a_run_that_was_resumed_under_another_split_has_seen_the_labels_of_both(workspace: Workspace) -> None:
    earlier = corpus(workspace, 0.2)
    checkpoint(workspace, 5, earlier.fingerprint)
    later = corpus(workspace, 0.7)
    resumed = trained_labels(workspace, checkpoint(workspace, 9, later.fingerprint, parent=5), later)
    alone = trained_labels(workspace, checkpoint(workspace, 9, later.fingerprint, run="new"), later)
    assert resumed is not None and alone is not None
    assert resumed.sum() > alone.sum() and (resumed | alone == resumed).all()


def test_what_a_run_started_from_counts_after_it_was_resumed_without_saying_so(workspace: Workspace) -> None:
    earlier = corpus(workspace, 0.2)
    checkpoint(workspace, 5, earlier.fingerprint, run="first")
    later = corpus(workspace, 0.7)
    checkpoint(workspace, 0, later.fingerprint, run="second", pretrained="first:5")
    resumed = checkpoint(workspace, 3, later.fingerprint, run="second", parent=0)
    seen = trained_labels(Workspace(workspace.store, "second"), resumed, later)
    assert seen is not None
    before = {earlier.label_names[code] for code in np.unique(earlier.labels[~earlier.is_test])}
    assert before <= {name for name, was_seen in zip(later.label_names, seen, strict=True) if was_seen}


def test_a_run_that_names_itself_as_its_start_is_followed_once(workspace: Workspace) -> None:
    found = corpus(workspace, 0.4)
    seen = trained_labels(workspace, checkpoint(workspace, 5, found.fingerprint, pretrained="main:5"), found)
    assert seen is not None and seen.any()


def test_a_missing_ancestor_leaves_it_unknown(workspace: Workspace) -> None:
    found = corpus(workspace, 0.4)
    assert trained_labels(workspace, checkpoint(workspace, 9, found.fingerprint, parent=5), found) is None


def test_vectors_may_come_from_an_encoder_that_has_seen_anything(workspace: Workspace, tmp_path: Path) -> None:
    file = write_vectors(tmp_path / "v.parquet", [[1.0, 0.0]] * 8, list("aabbccdd"))
    prepare(parquet_config(file), workspace, 0, "c" * 64)
    found = Corpus.open(workspace)
    assert trained_labels(workspace, checkpoint(workspace, 0, found.fingerprint), found) is None


@pytest.mark.parametrize("pretrained", [None, "weights.safetensors", "gone:3"])
def test_what_cannot_be_known_is_not_guessed(workspace: Workspace, pretrained: str | None) -> None:
    found = corpus(workspace, 0.4)
    fingerprint = "f" * 64 if pretrained is None else found.fingerprint
    assert trained_labels(workspace, checkpoint(workspace, 5, fingerprint, pretrained=pretrained), found) is None


def test_a_leak_is_refused_by_number_and_name() -> None:
    trained = np.array([True, False, True, True])
    names = ["ann", "bob", "cat", "dan"]
    check_leakage("main step 5", trained, np.array([1], dtype=np.int32), names, allowed=False)
    check_leakage("main step 5", None, np.array([1, 2], dtype=np.int32), names, allowed=False)
    with pytest.raises(InputError, match=r"main step 5 was trained on 2 of the 3 labels .* the first 'cat'"):
        check_leakage("main step 5", trained, np.array([1, 2, 3], dtype=np.int32), names, allowed=False)


def test_a_leak_that_is_allowed_is_said_aloud(capfd: pytest.CaptureFixture[str]) -> None:
    check_leakage("main step 5", np.array([True]), np.array([0], dtype=np.int32), ["ann"], allowed=True)
    assert "WARNING: main step 5 was trained on 1 of the 1 labels" in capfd.readouterr().err
