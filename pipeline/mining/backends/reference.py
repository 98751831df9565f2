"""The scan: the exact search of a shard for the nearest negatives inside each pair's band (backend `reference`).

A float32 matrix product proposes, the defined distance decides. Whatever could, within the product's error
bound, be among the best is scored again in float64, so the result is that of brute force whatever the tiling.
Memory is flat: a tile of distances, and one small state a pair.
"""

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array
from pipeline.mining.distance import approximate_distances, error_bound, squared_distances, squared_norms
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest

ANCHORS_PER_TILE = 256
CANDIDATES_PER_TILE = 4096
PAIRS_PER_TILE = 512
_MANY_SURVIVORS = 8  # a row with more is pruned before anything is scored again


def scan(queries: Queries, shard: Shard, num_negatives: int) -> Nearest:
    """The nearest ``num_negatives`` in-band negatives of every pair among the examples of a shard.

    Args:
        queries: Pairs and their bands.
        shard: Candidates.
        num_negatives: M, how many are wanted for a pair.

    Returns:
        Exact by the definition in ``mining.distance``, ties by the smaller id; P x M.
    """
    found = Nearest.empty(len(queries.row_P), num_negatives)
    a_norm_A = squared_norms(queries.vectors_AD)
    for start in range(0, len(shard), CANDIDATES_PER_TILE):
        _scan_tile(queries, a_norm_A, shard.take(slice(start, start + CANDIDATES_PER_TILE)), found)
    return found


def _scan_tile(queries: Queries, a_norm_A: npt.NDArray[np.float64], tile: Shard, found: Nearest) -> None:
    candidates_CD = tile.vectors_ND.astype(np.float32, copy=False)
    c_norm_C = squared_norms(candidates_CD)
    tolerance = error_bound(candidates_CD.shape[1], a_norm_A, c_norm_C)
    for first in range(0, len(queries.labels_A), ANCHORS_PER_TILE):
        anchors = slice(first, first + ANCHORS_PER_TILE)
        distances_AC = approximate_distances(
            queries.vectors_AD[anchors].astype(np.float32, copy=False), a_norm_A[anchors], candidates_CD, c_norm_C
        )
        distances_AC[queries.labels_A[anchors, None] == tile.labels_N[None, :]] = np.inf
        start, end = np.searchsorted(queries.row_P, [first, first + ANCHORS_PER_TILE])
        for pair in range(start, end, PAIRS_PER_TILE):
            pairs = slice(pair, min(pair + PAIRS_PER_TILE, end))
            distances_PC = distances_AC[queries.row_P[pairs] - first]
            row, column = _survivors(queries, pairs, distances_PC, found, tolerance)
            _score(queries, row + pairs.start, tile, column, found)


def _survivors(
    queries: Queries, pairs: slice, distances_PC: Float32Array, found: Nearest, tolerance: np.float32
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the candidates that may belong to the answer: every one that does is among them."""
    num_negatives = found.d_an_PM.shape[1]
    lowest_P = queries.lower_P[pairs] - tolerance
    highest_P = np.minimum(queries.upper_P[pairs], found.d_an_PM[pairs, -1]) + tolerance
    possible_PC = distances_PC >= lowest_P[:, None]
    possible_PC &= distances_PC <= np.minimum(highest_P, np.float32(np.finfo(np.float32).max))[:, None]
    crowded = np.flatnonzero(np.count_nonzero(possible_PC, axis=1) > _MANY_SURVIVORS * num_negatives)
    if len(crowded) and distances_PC.shape[1] > num_negatives:
        # Candidates surely inside the band limit the rest: the M-th best of them cannot be beaten from farther away.
        sure = np.where(
            distances_PC[crowded] > (queries.lower_P[pairs][crowded] + tolerance)[:, None],
            distances_PC[crowded],
            np.inf,
        )
        limit = np.partition(sure, num_negatives - 1, axis=1)[:, num_negatives - 1] + 2 * tolerance
        possible_PC[crowded] &= distances_PC[crowded] <= limit[:, None]
    row, column = np.nonzero(possible_PC)
    return row, column


def _score(
    queries: Queries, row_K: npt.NDArray[np.intp], tile: Shard, column_K: npt.NDArray[np.intp], found: Nearest
) -> None:
    """Scores survivors by the defined distance and keeps those that are inside their band."""
    step = 1 << 13
    for start in range(0, len(row_K), step):
        row, column = row_K[start : start + step], column_K[start : start + step]
        d_an = squared_distances(queries.vectors_AD[queries.row_P[row]], tile.vectors_ND[column]).astype(np.float32)
        inside = (queries.lower_P[row] < d_an) & (d_an < queries.upper_P[row])
        found.push(row[inside], d_an[inside], tile.ids_N[column[inside]])
