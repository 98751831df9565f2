"""Identity leakage: which labels a checkpoint has seen in training, so that none of them passes for unseen."""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import CorpusManifest
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.encoders.pretrained import find_checkpoint
from pipeline.errors import InputError
from pipeline.progress import say
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.tombstones import read_history
from pipeline.storage.workspace import Workspace


def trained_labels(
    workspace: Workspace, checkpoint: CheckpointManifest, corpus: Corpus
) -> npt.NDArray[np.bool_] | None:
    """Which labels of a corpus a checkpoint was trained on, in all its steps and in the weights that it started from.

    Args:
        workspace: Of the checkpoint's run; holds the corpora too.
        checkpoint: In question.
        corpus: Whose labels are asked about; it need not be one that the checkpoint was trained on.

    Returns:
        bool (L,), by label code. None: it cannot be known, since a corpus or an earlier checkpoint is not in this
        workspace, training started from a file of weights, or the corpus holds vectors, made by who knows what.
    """
    fingerprints: set[str] = set()
    if corpus.payload.is_derived or not _gather(workspace, checkpoint, fingerprints, set()):
        return None
    seen = np.zeros(len(corpus.label_names), dtype=np.bool_)
    for fingerprint in fingerprints:
        own = _training_labels(workspace, fingerprint, corpus)
        if own is None:
            return None
        seen |= own
    return seen


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
                run, checkpoint = find_checkpoint(source, workspace)
            except InputError:  # a file, or a run that was removed since
                return False
            return _gather(Workspace(workspace.store, run), checkpoint, fingerprints, visited)
    return True


def _training_labels(workspace: Workspace, fingerprint: str, corpus: Corpus) -> npt.NDArray[np.bool_] | None:
    """The labels of ``corpus`` that were training labels of the corpus with this fingerprint."""
    if fingerprint == corpus.fingerprint:
        return ~np.array([corpus.split.is_test(name) for name in corpus.label_names], dtype=np.bool_)
    dataset = VersionedDataset(workspace.store, workspace.corpus_prefix, CorpusManifest)
    for manifest in reversed(read_history(dataset)):  # the labels of those that were pruned stay
        if manifest.fingerprint == fingerprint:
            theirs = Corpus(dataset, manifest)
            trained = {name for name in theirs.label_names if not theirs.split.is_test(name)}
            return np.array([name in trained for name in corpus.label_names], dtype=np.bool_)
    return None


def check_leakage(
    name: str,
    trained_L: npt.NDArray[np.bool_] | None,
    examined: npt.NDArray[np.int32],
    label_names: list[str],
    allowed: bool,
) -> None:
    """Refuses to measure a checkpoint on labels that it was trained on, or says so where that is wanted.

    Args:
        name: Of the checkpoint, for the message.
        trained_L: See `trained_labels`.
        examined: Codes of the labels that would be measured on, each once.
        label_names: By code.
        allowed: The config's ``evaluation.allow_trained_labels``.

    Raises:
        InputError: Some label is both, and that is not allowed.
    """
    both = np.empty(0, dtype=np.int32) if trained_L is None else examined[trained_L[examined]]
    if not len(both):
        return
    found = f"{name} was trained on {len(both)} of the {len(examined)} labels"
    if not allowed:
        raise InputError(
            f"{found} that it would be measured on, the first {label_names[both[0]]!r}: measure on labels that "
            "training has not seen, or set evaluation.allow_trained_labels to measure all the same"
        )
    say(
        f"WARNING: {found} that it is measured on (evaluation.allow_trained_labels): its figures say little about "
        "unseen ones"
    )
