"""Identity leakage: which labels a checkpoint was trained on, so that none of them counts as unseen."""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import corpora
from pipeline.encoders.checkpoint_names import find_checkpoint
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.storage.tombstones import read_history
from pipeline.storage.workspace import Workspace


def trained_labels(
    workspace: Workspace, checkpoint: CheckpointManifest, corpus: Corpus
) -> npt.NDArray[np.bool_] | None:
    """Which labels of a corpus a checkpoint was trained on, in all its steps and in the weights that it started from.

    The workspace is of the checkpoint's run; the checkpoint need not have been trained on this corpus.

    Returns:
        bool (L,), by label code. None: it cannot be known, since a corpus or an earlier checkpoint is not in this
        workspace, training started from a file of weights, or the corpus holds vectors of an unknown encoder.
    """
    fingerprints: set[str] = set()
    if corpus.payload.is_derived or not _gather(workspace, checkpoint, fingerprints, set()):
        return None
    trained_L = np.zeros(len(corpus.label_names), dtype=np.bool_)
    for fingerprint in fingerprints:
        of_corpus_L = _training_labels(workspace, fingerprint, corpus)
        if of_corpus_L is None:
            return None
        trained_L |= of_corpus_L
    return trained_L


def _gather(
    workspace: Workspace, checkpoint: CheckpointManifest, fingerprints: set[str], visited: set[tuple[str, int]]
) -> bool:
    """Collects the corpora that a checkpoint and its ancestors were trained on; False where one cannot be known.

    A run may have been resumed on another corpus, so each of its checkpoints counts.
    """
    manifests = {manifest.step: manifest for manifest in read_history(checkpoints(workspace))}
    while (workspace.run, checkpoint.step) not in visited:
        visited.add((workspace.run, checkpoint.step))
        if checkpoint.step > 0:
            fingerprints.add(checkpoint.corpus_fingerprint)
        if checkpoint.parent is not None:
            if checkpoint.parent not in manifests:
                return False
            checkpoint = manifests[checkpoint.parent]
        elif (source := checkpoint.encoder.pretrained) is not None:
            try:
                run, checkpoint = find_checkpoint(source, workspace, "encoder.pretrained")
            except InputError:  # a file, or a run that was removed since
                return False
            return _gather(Workspace(workspace.store, run), checkpoint, fingerprints, visited)
    return True


def _training_labels(workspace: Workspace, fingerprint: str, corpus: Corpus) -> npt.NDArray[np.bool_] | None:
    """The labels of ``corpus`` that were training labels of the corpus with this fingerprint."""
    if fingerprint == corpus.fingerprint:
        return ~np.array([corpus.split.is_test(name) for name in corpus.label_names], dtype=np.bool_)
    dataset = corpora(workspace)
    for manifest in reversed(read_history(dataset)):  # the labels of those that were pruned stay
        if manifest.fingerprint == fingerprint:
            trained_on = Corpus(dataset, manifest)
            trained = {name for name in trained_on.label_names if not trained_on.split.is_test(name)}
            return np.array([name in trained for name in corpus.label_names], dtype=np.bool_)
    return None


def check_leakage(
    name: str,
    trained_L: npt.NDArray[np.bool_] | None,
    label_codes: npt.NDArray[np.int32],
    label_names: list[str],
    allowed: bool,
) -> None:
    """Refuses to evaluate a checkpoint on labels that it was trained on, or warns where that is allowed.

    ``label_codes`` are those of the evaluation set, each once; for ``trained_L`` see ``trained_labels``.

    Raises:
        InputError: Some label is both, and that is not allowed.
    """
    leaked = np.empty(0, dtype=np.int32) if trained_L is None else label_codes[trained_L[label_codes]]
    if not len(leaked):
        return
    finding = f"{name} was trained on {len(leaked)} of the {len(label_codes)} labels"
    if not allowed:
        raise InputError(
            f"{finding} that it would be measured on, the first {label_names[leaked[0]]!r}: measure on labels that "
            "training has not seen, or set evaluation.allow_trained_labels to measure all the same"
        )
    log(
        f"WARNING: {finding} that it is measured on (evaluation.allow_trained_labels): its figures say little about "
        "unseen ones"
    )
