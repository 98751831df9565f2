"""A sample of every generation is answered by brute force too, in float64: what was mined must agree."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.mining.queries import Queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import NO_ID, Nearest

TOLERANCE = 1e-6
"""Distances, and distances from the edge of a band, that differ by less are taken as equal."""

_CANDIDATES_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class Agreement:
    """How a sample of pairs was answered.

    Attributes:
        num_pairs: Pairs looked at.
        num_agreeing: Of them, pairs whose negatives hold, and are all as near as brute force's, within TOLERANCE.
    """

    num_pairs: int
    num_agreeing: int

    @property
    def share(self) -> float:
        """Share of the pairs that agree; 1.0 where there are none."""
        return self.num_agreeing / self.num_pairs if self.num_pairs else 1.0


def brute_force(queries: Queries, shard: Shard, num_negatives: int) -> Nearest:
    """The nearest negatives that are clearly inside their band, by all distances in float64.

    Written apart from the scans, and from the definitions alone, so that a mistake in them is not repeated here.

    Args:
        queries: A few anchors' pairs.
        shard: Candidates.
        num_negatives: M.

    Returns:
        Negatives at least TOLERANCE inside the band; P x M.
    """
    found = Nearest.empty(len(queries.row_P), num_negatives)
    a_AD = queries.vectors_AD.astype(np.float64)
    for start in range(0, len(shard), _CANDIDATES_AT_ONCE):
        rows = slice(start, start + _CANDIDATES_AT_ONCE)
        c_CD = shard.vectors_ND[rows].astype(np.float64)
        d_AC = (a_AD**2).sum(1)[:, None] + (c_CD**2).sum(1)[None, :] - 2.0 * (a_AD @ c_CD.T)
        d_AC[queries.labels_A[:, None] == shard.labels_N[None, rows]] = np.inf
        for pair, anchor in enumerate(queries.row_P):
            d_C = d_AC[anchor]
            inside = np.flatnonzero(
                (d_C > queries.lower_P[pair] + TOLERANCE) & (d_C < np.float64(queries.upper_P[pair]) - TOLERANCE)
            )
            if len(inside) > num_negatives:
                inside = inside[np.argpartition(d_C[inside], num_negatives - 1)[:num_negatives]]
            found.push(np.full(len(inside), pair), d_C[inside].astype(np.float32), shard.ids_N[rows][inside])
    return found


def check_consistency(
    queries: Queries, nearest: Nearest, vectors: ShardedVectors, groups: LabelGroups
) -> npt.NDArray[np.bool_]:
    """Whether what was mined is what it says: eligible, of another label, inside its band, at its distance, once.

    Args:
        queries: A few anchors' pairs.
        nearest: Their mined negatives, P x M.
        vectors: All eligible embeddings.
        groups: Who is eligible, and shares a label.

    Returns:
        bool, shape (P,).
    """
    is_consistent_P = np.ones(len(queries.row_P), dtype=bool)
    pair_K, place_K = np.nonzero(nearest.found_PM)
    negative_K = nearest.id_PM[pair_K, place_K]
    is_consistent_P[pair_K[~groups.contains(negative_K)]] = False
    known = groups.contains(negative_K)
    pair_K, place_K, negative_K = pair_K[known], place_K[known], negative_K[known]
    anchor_K = queries.row_P[pair_K]
    difference_KD = queries.vectors_AD[anchor_K].astype(np.float64) - vectors.take(negative_K)
    d_an_K = (difference_KD**2).sum(axis=1)
    wrong_K = groups.labels_of(negative_K) == queries.labels_A[anchor_K]
    wrong_K |= np.abs(d_an_K - nearest.d_an_PM[pair_K, place_K]) > TOLERANCE
    wrong_K |= (d_an_K < queries.lower_P[pair_K] - TOLERANCE) | (d_an_K > queries.upper_P[pair_K] + TOLERANCE)
    is_consistent_P[pair_K[wrong_K]] = False
    sorted_PM = np.sort(nearest.id_PM, axis=1)
    is_consistent_P[((sorted_PM[:, 1:] == sorted_PM[:, :-1]) & (sorted_PM[:, 1:] != NO_ID)).any(axis=1)] = False
    return is_consistent_P


def compare(mined: Nearest, is_consistent_P: npt.NDArray[np.bool_], expected: Nearest) -> Agreement:
    """Whether mined negatives are what they say, and as near as brute force's, pair by pair and place by place.

    Args:
        mined: What is published, P x M.
        is_consistent_P: As ``check_consistency`` gave it.
        expected: As ``brute_force`` gave it.
    """
    as_near_PM = ~expected.found_PM | (mined.d_an_PM <= expected.d_an_PM + np.float32(TOLERANCE))
    return Agreement(len(as_near_PM), int((as_near_PM.all(axis=1) & is_consistent_P).sum()))
