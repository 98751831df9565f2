"""The embeddings that a generation was mined from, as far as they are still stored."""

import numpy as np
import numpy.typing as npt

from pipeline.embeddings.parts import EmbeddingParts
from pipeline.inspection.generation import OpenGeneration
from pipeline.progress import stage


def vectors_unavailable_reason(generation: OpenGeneration) -> str | None:
    """Why the distances of a generation cannot be computed again, in a sentence; None where they can."""
    manifest, corpus = generation.manifest, generation.corpus
    if manifest.old_share > 0.0:
        return f"a share of {manifest.old_share:g} of the examples stood with vectors of an older encoder"
    present = EmbeddingParts(generation.workspace, manifest.embeddings_key).present()
    num_missing = len(set(range(corpus.num_parts)) - present)
    if num_missing:
        return (
            f"{num_missing} of {corpus.num_parts} parts of the embeddings {manifest.embeddings_key} are not stored any "
            "more (jobs.mine makes those of the newest checkpoint only)"
        )
    return None


def read_vectors(generation: OpenGeneration, ids: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.floating]:
    """Reads stored embeddings, part by part, so that memory holds only those that are returned.

    Args:
        generation: The generation.
        ids: Of the examples, int64, ascending, shape (n,); None: all N examples.

    Returns:
        In the stored dtype, shape (n, D) or (N, D).

    Raises:
        CorruptDataError: A part is damaged.
        InputError: A part is missing.
    """
    corpus = generation.corpus
    ids = np.arange(corpus.num_examples) if ids is None else ids
    parts, out, filled = EmbeddingParts(generation.workspace, generation.manifest.embeddings_key), None, 0
    with stage("read embeddings", len(ids), "vectors") as advance:
        for part in range(corpus.num_parts):
            span = corpus.part_ids(part)
            first, end = np.searchsorted(ids, [span.start, span.stop])
            if first == end and out is not None:
                continue
            vectors = parts.read(part, span.start, len(span))
            if out is None:
                out = np.empty((len(ids), vectors.shape[1]), dtype=vectors.dtype)
            out[first:end] = vectors[ids[first:end] - span.start]
            filled += end - first
            advance(int(end - first))
    assert out is not None and filled == len(ids)
    return out
