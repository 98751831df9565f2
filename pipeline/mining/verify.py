"""A sample of every generation is answered by brute force too, in float64: what was mined must agree."""

from dataclasses import dataclass

import numpy as np

from pipeline.mining.merge import Nearest
from pipeline.mining.scan import Queries
from pipeline.mining.shards import Shard

TOLERANCE = 1e-6
"""Distances, and distances from the edge of a band, that differ by less are taken as equal."""

_CANDIDATES_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class Agreement:
    """How a sample of pairs was answered.

    Attributes:
        num_pairs: Pairs looked at.
        num_agreeing: Of them, pairs whose negatives are all as near as brute force's, within TOLERANCE.
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
            found.fold(np.full(len(inside), pair), d_C[inside].astype(np.float32), shard.ids_N[rows][inside])
    return found


def compare(mined: Nearest, expected: Nearest) -> Agreement:
    """Whether mined negatives are as near as brute force's, pair by pair and place by place."""
    as_near_PM = ~expected.found_PM | (mined.d_an_PM <= expected.d_an_PM + np.float32(TOLERANCE))
    return Agreement(len(as_near_PM), int(as_near_PM.all(axis=1).sum()))
