"""Identity leakage: which labels a checkpoint has seen in training, so that none of them passes for unseen."""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import CorpusManifest
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.encoders.pretrained import find_checkpoint
from pipeline.errors import InputError
from pipeline.storage.publish import Publication
from pipeline.storage.workspace import Workspace


def trained_labels(
    workspace: Workspace, checkpoint: CheckpointManifest, corpus: Corpus
) -> npt.NDArray[np.bool_] | None:
    """Which labels of a corpus a checkpoint was trained on, itself or through the weights that it started from.

    Args:
        workspace: Holds the corpora and the runs.
        checkpoint: In question.
        corpus: Whose labels are asked about; it need not be the one that the checkpoint was trained on.

    Returns:
        bool (L,), by label code. None: it cannot be known, since its corpus is not in this workspace, or it started
        from a file of weights.
    """
    seen = np.zeros(len(corpus.label_names), dtype=np.bool_)
    if checkpoint.step > 0:
        own = _training_labels(workspace, checkpoint.corpus_fingerprint, corpus)
        if own is None:
            return None
        seen |= own
    source = checkpoint.encoder.pretrained
    if source is not None:
        try:
            run, started_from = find_checkpoint(source, workspace)
        except InputError:  # a file, or a run that was removed since
            return None
        before = trained_labels(Workspace(workspace.store, run), started_from, corpus)
        if before is None:
            return None
        seen |= before
    return seen


def _training_labels(workspace: Workspace, fingerprint: str, corpus: Corpus) -> npt.NDArray[np.bool_] | None:
    """The labels of ``corpus`` that were training labels of the corpus with this fingerprint."""
    if fingerprint == corpus.fingerprint:
        return ~np.array([corpus.split.is_test(name) for name in corpus.label_names], dtype=np.bool_)
    publication = Publication(workspace.store, workspace.corpus_prefix, CorpusManifest)
    for number in reversed(publication.numbers()):
        if publication.read(number).fingerprint == fingerprint:
            theirs = Corpus.open(workspace, number)
            trained = {name for name in theirs.label_names if not theirs.split.is_test(name)}
            return np.array([name in trained for name in corpus.label_names], dtype=np.bool_)
    return None


def refuse_leakage(
    name: str, trained_L: npt.NDArray[np.bool_], examined: npt.NDArray[np.int32], label_names: list[str]
) -> None:
    """Refuses to measure a checkpoint on labels that it was trained on.

    Args:
        name: Of the checkpoint, for the message.
        trained_L: See `trained_labels`.
        examined: Codes of the labels that would be measured on, each once.
        label_names: By code.

    Raises:
        InputError: Some label is both.
    """
    both = examined[trained_L[examined]]
    if len(both):
        raise InputError(
            f"{name} was trained on {len(both)} of the {len(examined)} labels that it would be measured on, the first "
            f"{label_names[both[0]]!r}: measure on labels that training has not seen, or set "
            "evaluation.allow_trained_labels to measure all the same"
        )
