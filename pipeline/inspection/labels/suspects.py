"""Examples whose label is likely wrong, as the audit of a generation found them."""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.reader import Corpus
from pipeline.corpus.relabel import chain_of
from pipeline.errors import InputError
from pipeline.inspection.generation import OpenGeneration
from pipeline.progress import log

REASON = "label_noise_suspect"


@dataclass(frozen=True)
class Suspect:
    """An example that may be labelled wrongly.

    Attributes:
        rank: 1, 2, 3…, most suspect first.
        example_id: Its row in the corpus.
        path: Where it came from: an image's path in its source, or the user's own id of a vector.
        label: Its label.
        suggested_label: The label that its neighbourhood suggests; empty where that suggests none.
        score: Higher is more suspect; None where the audit gave no score.
    """

    rank: int
    example_id: int
    path: str
    label: str
    suggested_label: str
    score: float | None

    def accepted_label(self, above: float | None) -> str:
        """The suggestion, where the score reaches ``above``; else empty."""
        reached = above is not None and self.score is not None and self.score >= above
        return self.suggested_label if reached else ""


@dataclass(frozen=True)
class SuspectList:
    """The likely label errors of a corpus.

    Attributes:
        rows: Most suspect first; ties by example id.
        num_found: How many there are, including those that are not among the rows.
        num_corrected: How many more the generation holds whose label was changed since it was mined.
        ids: Of all of them, including the corrected ones, int64.
    """

    rows: tuple[Suspect, ...]
    num_found: int
    num_corrected: int
    ids: np.ndarray[tuple[int], np.dtype[np.int64]]


def corpus_to_correct(generation: OpenGeneration) -> Corpus:
    """The corpus whose labels can be corrected by a generation's suspects: the newest, if its ids mean the same.

    A corpus that was relabelled since is such a corpus. One that was prepared anew is not: then a note is printed, and
    the generation's own corpus is returned.
    """
    newest = Corpus.open(generation.workspace)
    own = generation.corpus
    if any(manifest.fingerprint == own.fingerprint for manifest in chain_of(generation.workspace, newest.manifest)):
        return newest
    log(
        f"note: generation {generation.manifest.number} was mined from corpus {own.manifest.number}, and corpus "
        f"{newest.manifest.number} was prepared since: this list is of the old one, and not to be applied; mine again "
        "(jobs.mine)"
    )
    return own


def list_suspects(generation: OpenGeneration, corpus: Corpus, num: int | None, label: str | None = None) -> SuspectList:
    """The examples that the audit suspects of a wrong label.

    Args:
        generation: The generation that was audited.
        corpus: See `corpus_to_correct`; examples that were relabelled since the generation was mined are left out.
        num: At most so many rows; None: all.
        label: Only of this label.

    Raises:
        InputError: The corpus has no such label.
    """
    if label is not None and label not in corpus.label_names:
        raise InputError(
            f"--label {label!r} is no label of corpus {corpus.manifest.number}: write it as the corpus has it"
        )
    quarantine = generation.reader.quarantine()
    entries = quarantine.filter(pc.field("reason") == REASON).select(["example_id", "score", "suggested_label"])
    ids = entries["example_id"].to_numpy()
    mined_labels = generation.label_names[generation.corpus.labels[ids]]
    current_labels = np.asarray(corpus.label_names, dtype=object)[corpus.labels[ids]]
    is_unchanged = mined_labels == current_labels
    is_selected = np.ones(len(ids), dtype=np.bool_) if label is None else mined_labels == label
    rows = entries.filter(pa.array(is_unchanged & is_selected)).sort_by(
        [("score", "descending"), ("example_id", "ascending")]
    )
    shown = rows.slice(0, num).to_pylist()
    paths = corpus.paths_of([row["example_id"] for row in shown])
    suspects = (
        Suspect(
            rank,
            row["example_id"],
            paths[row["example_id"]],
            corpus.label_names[corpus.labels[row["example_id"]]],
            row["suggested_label"] or "",
            _number(row["score"]),
        )
        for rank, row in enumerate(shown, start=1)
    )
    return SuspectList(tuple(suspects), len(rows), int((~is_unchanged & is_selected).sum()), ids)


def _number(score: float | None) -> float | None:
    """A float32 as its shortest decimal: 0.9 is stored as 0.899999976, and would not be "at least 0.9"."""
    return None if score is None or not math.isfinite(score) else float(str(np.float32(score)))
