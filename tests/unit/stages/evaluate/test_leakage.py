from pathlib import Path

import numpy as np
import pytest

from pipeline.config import EncoderConfig, RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import InputError
from pipeline.stages.evaluate.leakage import check_leakage, trained_labels
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import glyph_corpus, parquet_config, run_prepare, write_vectors
from tests.unit.encoders import samples


@pytest.fixture
def found(workspace: Workspace) -> Corpus:
    """A corpus that keeps some labels for evaluation."""
    return glyph_corpus(workspace, 30, 0.4)


@pytest.fixture
def splits(workspace: Workspace) -> tuple[Corpus, Corpus]:
    """The same examples under an earlier split and under a later one, which keeps more labels for evaluation."""
    return glyph_corpus(workspace, 30, 0.2), glyph_corpus(workspace, 30, 0.7)


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


def seen(workspace: Workspace, manifest: CheckpointManifest, corpus: Corpus, run: str = "main") -> set[str]:
    """The labels of a corpus that a checkpoint was trained on, by name."""
    trained = trained_labels(Workspace(workspace.store, run), manifest, corpus)
    assert trained is not None
    return {name for name, is_trained in zip(corpus.label_names, trained, strict=True) if is_trained}


def training_labels(corpus: Corpus) -> set[str]:
    return {corpus.label_names[code] for code in corpus.labels[~corpus.is_test]}


def test_a_checkpoint_has_seen_the_training_labels_of_its_corpus_and_no_test_label(
    workspace: Workspace, found: Corpus
) -> None:
    assert seen(workspace, checkpoint(workspace, 5, found.fingerprint), found) == training_labels(found)


def test_the_untrained_encoder_has_seen_nothing(workspace: Workspace, found: Corpus) -> None:
    assert not seen(workspace, checkpoint(workspace, 0, "f" * 64), found)


def test_labels_seen_under_an_earlier_split_are_found(workspace: Workspace, splits: tuple[Corpus, Corpus]) -> None:
    earlier, later = splits
    assert training_labels(earlier) > training_labels(later) != set()
    assert seen(workspace, checkpoint(workspace, 5, earlier.fingerprint), later) == training_labels(earlier)


def test_what_a_run_started_from_counts_too(workspace: Workspace, splits: tuple[Corpus, Corpus]) -> None:
    earlier, later = splits
    checkpoint(workspace, 5, earlier.fingerprint, run="first")
    started = checkpoint(workspace, 3, later.fingerprint, run="second", pretrained="first:5")
    assert seen(workspace, started, later, "second") == training_labels(earlier)
    alone = checkpoint(workspace, 3, later.fingerprint, run="third")
    assert seen(workspace, alone, later, "third") == training_labels(later)


def test_a_run_that_was_resumed_under_another_split_has_seen_the_labels_of_both(
    workspace: Workspace, splits: tuple[Corpus, Corpus]
) -> None:
    earlier, later = splits
    checkpoint(workspace, 5, earlier.fingerprint)
    assert seen(workspace, checkpoint(workspace, 9, later.fingerprint, parent=5), later) == training_labels(earlier)


def test_what_a_run_started_from_counts_after_it_was_resumed_without_saying_so(
    workspace: Workspace, splits: tuple[Corpus, Corpus]
) -> None:
    earlier, later = splits
    checkpoint(workspace, 5, earlier.fingerprint, run="first")
    checkpoint(workspace, 0, later.fingerprint, run="second", pretrained="first:5")
    resumed = checkpoint(workspace, 3, later.fingerprint, run="second", parent=0)
    assert seen(workspace, resumed, later, "second") == training_labels(earlier)


def test_a_run_that_names_itself_as_its_start_is_followed_once(workspace: Workspace, found: Corpus) -> None:
    assert seen(workspace, checkpoint(workspace, 5, found.fingerprint, pretrained="main:5"), found)


def test_a_missing_ancestor_leaves_it_unknown(workspace: Workspace, found: Corpus) -> None:
    assert trained_labels(workspace, checkpoint(workspace, 9, found.fingerprint, parent=5), found) is None


def test_vectors_may_come_from_an_encoder_that_has_seen_anything(workspace: Workspace, tmp_path: Path) -> None:
    file = write_vectors(tmp_path / "v.parquet", [[1.0, 0.0]] * 8, list("aabbccdd"))
    run_prepare(parquet_config(file), workspace)
    found = Corpus.open(workspace)
    assert trained_labels(workspace, checkpoint(workspace, 0, found.fingerprint), found) is None


@pytest.mark.parametrize("pretrained", [None, "weights.safetensors", "gone:3"])
def test_what_cannot_be_known_is_not_guessed(workspace: Workspace, found: Corpus, pretrained: str | None) -> None:
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
