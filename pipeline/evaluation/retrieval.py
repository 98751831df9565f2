"""Recognition: does the nearest other example have the same label? N: examples, Q: queries, D: dimension."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import InputError

MAX_TILE_VALUES = 4_000_000


@dataclass(frozen=True)
class Recognition:
    """Recall@1.

    Attributes:
        num_queries: Examples whose label has at least one more example.
        recall_at_1: Share of the queries whose nearest other example has their label.
    """

    num_queries: int
    recall_at_1: float


def recognise(embeddings_ND: npt.NDArray[np.float32], labels_N: npt.ArrayLike) -> Recognition:
    """Looks up each query's nearest other example among all examples, singletons included.

    Distances are squared L2, computed in float64; of equally near examples the first counts. Memory is flat: a tile
    of queries at a time.

    Args:
        embeddings_ND: (N, D) float32, unit vectors, finite.
        labels_N: (N,) integer label codes.

    Raises:
        InputError: No label has two examples.
    """
    labels = np.asarray(labels_N)
    _, label_index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    queries = np.flatnonzero(counts[label_index] >= 2)
    if not len(queries):
        raise InputError(
            f"recognition needs two examples of one label, but each of the {len(labels)} evaluated examples has a "
            "label of its own: raise corpus.test_fraction and prepare the corpus again"
        )
    gallery_ND = embeddings_ND.astype(np.float64)
    squared_norms = np.einsum("nd,nd->n", gallery_ND, gallery_ND)
    tile_size = max(1, MAX_TILE_VALUES // len(labels))
    num_hits = 0
    for start in range(0, len(queries), tile_size):
        tile = queries[start : start + tile_size]
        # The query's own squared norm would shift its whole row: the nearest example is the same without it.
        distances_QN = squared_norms - 2 * (gallery_ND[tile] @ gallery_ND.T)
        distances_QN[np.arange(len(tile)), tile] = np.inf
        num_hits += int((labels[distances_QN.argmin(axis=1)] == labels[tile]).sum())
    return Recognition(num_queries=len(queries), recall_at_1=num_hits / len(queries))
