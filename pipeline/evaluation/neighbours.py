"""The nearest other examples. N: examples that are searched, G: of one tile, Q: queries, D: dimension, K: depth."""

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, Int64Array

# A tile of distances, 8 MiB of float64, stays in the processor's cache.
QUERIES_PER_TILE = 256
GALLERY_PER_TILE = 4096


def nearest_others(queries_QD: Float32Array, gallery_ND: Float32Array, own_Q: Int64Array, depth: int) -> Int64Array:
    """Searches a gallery exhaustively, a tile at a time.

    Args:
        queries_QD: (Q, D) float32, finite; QUERIES_PER_TILE of them are a good number.
        gallery_ND: (N, D) float32, finite.
        own_Q: (Q,) int64, the row of the gallery that each query must not find: itself.
        depth: From 1 to N - 1.

    Returns:
        (Q, depth) int64, rows of the gallery, by squared L2 distance in float64, then by row.
    """
    minus_twice_QD = -2 * queries_QD.astype(np.float64)
    best_QK = np.empty((len(own_Q), 0))
    rows_QK = np.empty((len(own_Q), 0), dtype=np.int64)
    tile_QG = np.empty((len(own_Q), min(GALLERY_PER_TILE, len(gallery_ND))))
    for start in range(0, len(gallery_ND), GALLERY_PER_TILE):
        gallery_GD = gallery_ND[start : start + GALLERY_PER_TILE].astype(np.float64)
        # The query's own squared norm would shift its whole row: the order is the same without it.
        distances_QG = np.matmul(minus_twice_QD, gallery_GD.T, out=tile_QG[:, : len(gallery_GD)])
        distances_QG += np.einsum("gd,gd->g", gallery_GD, gallery_GD)
        is_inside_Q = (own_Q >= start) & (own_Q < start + len(gallery_GD))
        distances_QG[is_inside_Q, own_Q[is_inside_Q] - start] = np.inf
        columns_QK = _smallest(distances_QG, depth)
        # Earlier tiles come first, and so do their rows where distances are equal.
        best_QK = np.hstack([best_QK, np.take_along_axis(distances_QG, columns_QK, axis=1)])
        rows_QK = np.hstack([rows_QK, columns_QK + start])
        kept_QK = np.argsort(best_QK, axis=1, kind="stable")[:, :depth]
        best_QK = np.take_along_axis(best_QK, kept_QK, axis=1)
        rows_QK = np.take_along_axis(rows_QK, kept_QK, axis=1)
    return rows_QK


def _smallest(values_QG: npt.NDArray[np.float64], count: int) -> Int64Array:
    """(Q, count) columns of the smallest values by (value, column); all columns where they are not so many."""
    if count == 1:
        smallest_Q: Int64Array = values_QG.argmin(axis=1)
        return smallest_Q[:, None]
    if count >= values_QG.shape[1]:
        return np.argsort(values_QG, axis=1, kind="stable")
    chosen_QK = np.sort(np.argpartition(values_QG, count - 1, axis=1)[:, :count], axis=1)
    chosen_values_QK = np.take_along_axis(values_QG, chosen_QK, axis=1)
    order_QK = np.argsort(chosen_values_QK, axis=1, kind="stable")
    smallest_QK = np.take_along_axis(chosen_QK, order_QK, axis=1)
    # A partition takes any of the values that tie for the last place.
    is_tied_Q = (values_QG <= chosen_values_QK.max(axis=1, keepdims=True)).sum(axis=1) > count
    smallest_QK[is_tied_Q] = np.argsort(values_QG[is_tied_Q], axis=1, kind="stable")[:, :count]
    return smallest_QK
