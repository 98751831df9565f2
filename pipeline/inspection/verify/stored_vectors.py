"""The vectors that a generation was mined from, as far as they are still stored."""

import numpy as np
import numpy.typing as npt

from pipeline.embeddings.parts import EmbeddingParts
from pipeline.inspection.inspected import Inspected
from pipeline.progress import stage


def why_no_vectors(inspected: Inspected) -> str | None:
    """Why the distances of a generation cannot be computed again; None where they can."""
    manifest, corpus = inspected.manifest, inspected.corpus
    if manifest.old_share > 0.0:
        return f"a share of {manifest.old_share:g} of the examples stood with vectors of an older encoder"
    present = EmbeddingParts(inspected.workspace, manifest.embeddings_key).present()
    num_missing = len(set(range(corpus.num_parts)) - present)
    if num_missing:
        return (
            f"{num_missing} of {corpus.num_parts} parts of the embeddings {manifest.embeddings_key} are not stored any "
            "more (jobs.mine makes those of the newest checkpoint only)"
        )
    return None


def read_vectors(inspected: Inspected, ids: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.floating]:
    """Stored embeddings; part by part, so that only what is returned is held.

    Args:
        inspected: The generation.
        ids: Whose, int64, ascending, shape (n,); None: of all N examples.

    Returns:
        In the stored dtype, shape (n, D) or (N, D).

    Raises:
        CorruptDataError: A part is damaged.
        InputError: A part is missing.
    """
    corpus = inspected.corpus
    wanted = np.arange(corpus.num_examples) if ids is None else ids
    parts, out, filled = EmbeddingParts(inspected.workspace, inspected.manifest.embeddings_key), None, 0
    with stage("read embeddings", len(wanted), "vectors") as done:
        for part in range(corpus.num_parts):
            span = corpus.part_ids(part)
            first, end = np.searchsorted(wanted, [span.start, span.stop])
            if first == end and out is not None:
                continue
            vectors = parts.read(part, span.start, len(span))
            if out is None:
                out = np.empty((len(wanted), vectors.shape[1]), dtype=vectors.dtype)
            out[first:end] = vectors[wanted[first:end] - span.start]
            filled += end - first
            done(int(end - first))
    assert out is not None and filled == len(wanted)
    return out
