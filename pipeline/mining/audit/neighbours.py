"""What lies nearest around every example, of its own label and of others: what the audit judges by.

The scan finds the nearest examples of other labels (a hard search for one pair an anchor); those of the own label are
the easiest positives. A anchors, K neighbours of other labels, M of the own one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.arrays import Float32Array, Int32Array, Int64Array
from pipeline.mining.columns import Columns
from pipeline.mining.positives import Pairs
from pipeline.mining.shards import LabelGroups
from pipeline.mining.topk import Nearest

WITNESSES = 2
"""Examples of a label that speak for it. One may itself be mislabelled; small labels have no more."""
MOST_OWN = 256
"""Of a label with more, an example is compared with so many others, drawn by seed: cost grows with N, not with N²."""
_FARTHEST = 4.0
"""No squared distance of unit vectors is larger."""


@dataclass(frozen=True)
class NeighbourStatistics(Columns):
    """What is kept of the neighbours of A anchors; distances are squared L2.

    Attributes:
        ids_A: example_id, int64, ascending.
        nearest_A: The nearest example of another label, int64; NO_ID where none was found.
        d_nearest_A: Distance to it, float32.
        d_own_A: Distance to the nearest of its own label, float32; inf for a singleton.
        reach_A: A negative nearer than this is closer than the share of its positives that was asked about, float32;
            -inf for a singleton.
        own_A: Mean distance to the witnesses of its own label, float32; NaN for a singleton.
        other_A: The same over those of the other label whose witnesses are nearest, float32.
        suggested_A: That label's code, int32; -1 where none has as many witnesses among the neighbours.
    """

    ids_A: Int64Array
    nearest_A: Int64Array
    d_nearest_A: Float32Array
    d_own_A: Float32Array
    reach_A: Float32Array
    own_A: Float32Array
    other_A: Float32Array
    suggested_A: Int32Array


def num_own(groups: LabelGroups, share: float) -> int:
    """How many of the nearest of its own label ``neighbour_statistics`` needs of each anchor."""
    largest = min(int(np.diff(groups.offsets).max(initial=0)), MOST_OWN)
    return max(WITNESSES, int((1.0 - share) * largest) + 1)


def neighbour_statistics(
    anchors_A: Int64Array, nearest: Nearest, own: Pairs, groups: LabelGroups, share: float
) -> NeighbourStatistics:
    """Sums up the neighbours of a block of anchors.

    Args:
        anchors_A: example_id, int64, ascending; singletons may be among them.
        nearest: Their nearest examples of other labels, A x K.
        own: Their ``num_own`` nearest of their own label (among MOST_OWN of them), sorted by anchor.
        groups: Who shares a label.
        share: Of the positives, in (0, 1]; see ``NeighbourStatistics.reach_A``.
    """
    start_A, end_A = groups.members(groups.labels_of(anchors_A))
    own_AM = _own_distances(anchors_A, own, num_own(groups, share))
    has_own_A = np.isfinite(own_AM[:, 0])
    passed_over_A = ((1.0 - share) * np.minimum(end_A - start_A - 1, MOST_OWN)).astype(np.int64)
    reach_A = np.where(has_own_A, np.take_along_axis(own_AM, passed_over_A[:, None], axis=1)[:, 0], -np.inf)
    witness_AW = np.isfinite(own_AM[:, :WITNESSES])
    sum_A = np.where(witness_AW, own_AM[:, :WITNESSES], 0.0).sum(axis=1)
    own_A = np.where(has_own_A, sum_A / np.maximum(witness_AW.sum(axis=1), 1), np.nan)
    other_A, suggested_A = _other_label(nearest, groups)
    return NeighbourStatistics(
        anchors_A,
        nearest.id_PM[:, 0],
        nearest.d_an_PM[:, 0],
        own_AM[:, 0],
        reach_A.astype(np.float32),
        own_A.astype(np.float32),
        other_A,
        suggested_A,
    )


def concat_blocks(blocks: Sequence[NeighbourStatistics]) -> NeighbourStatistics:
    """The statistics of several blocks, in any order, as those of all their anchors."""
    order = np.argsort(np.concatenate([block.ids_A for block in blocks]))
    columns: Any = zip(*(vars(block).values() for block in blocks), strict=True)
    return NeighbourStatistics(*(np.concatenate(column)[order] for column in columns))  # one column at a time: memory


def _own_distances(anchors_A: Int64Array, own: Pairs, num: int) -> Float32Array:
    """Distances to the nearest of its own label, ascending, inf where there are no more, shape (A, num)."""
    out_AM = np.full((len(anchors_A), num), np.inf, dtype=np.float32)
    row_P, d_P = np.searchsorted(anchors_A, own.anchor_P), own.d_ap_P.astype(np.float32)
    order = np.lexsort((d_P, row_P))
    row_P, d_P = row_P[order], d_P[order]
    rank_P = np.arange(len(row_P)) - np.searchsorted(row_P, row_P, side="left")
    kept_P = rank_P < num
    out_AM[row_P[kept_P], rank_P[kept_P]] = d_P[kept_P]
    return out_AM


def _other_label(nearest: Nearest, groups: LabelGroups) -> tuple[Float32Array, Int32Array]:
    """The other label whose nearest witnesses are closest: their mean distance, and its code."""
    found_AK = nearest.found_PM
    labels_AK = np.full(found_AK.shape, -1, dtype=np.int32)
    labels_AK[found_AK] = groups.labels_of(nearest.id_PM[found_AK])
    best_A = np.full(len(labels_AK), _FARTHEST, dtype=np.float32)
    suggested_A = np.full(len(labels_AK), -1, dtype=np.int32)
    for k in range(labels_AK.shape[1]):
        same_AK = (labels_AK == labels_AK[:, k : k + 1]) & found_AK
        witness_AK = same_AK & (np.cumsum(same_AK, axis=1) <= WITNESSES)
        mean_A = np.where(witness_AK, nearest.d_an_PM, np.float32(0.0)).sum(axis=1) / np.float32(WITNESSES)
        better_A = (witness_AK.sum(axis=1) == WITNESSES) & (mean_A < best_A)
        best_A[better_A], suggested_A[better_A] = mean_A[better_A], labels_AK[better_A, k]
    return best_A, suggested_A
