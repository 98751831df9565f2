"""Suspects: labels and negatives that the nearest neighbours of the examples speak against. R rows of a list."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, Int32Array, Int64Array
from pipeline.mining.audit.neighbours import NeighbourStatistics
from pipeline.mining.columns import Columns
from pipeline.mining.topk import Nearest

_UNBOUNDED = np.float32(-np.inf)
_BLUR = np.float32(0.02)
"""Squared distance below which nearer says little: it keeps the ratio of two tiny distances from deciding."""


@dataclass(frozen=True)
class LabelSuspects(Columns):
    """Examples whose neighbourhood speaks for another label, most surely first.

    Attributes:
        ids_R: example_id, int64.
        score_R: 1 - other / own, of the mean squared distances to the nearest two examples of another label and of the
            own one; at most 1, float32.
        suggested_R: Code of the other label, int32.
    """

    ids_R: Int64Array
    score_R: Float32Array
    suggested_R: Int32Array


@dataclass(frozen=True)
class PairSuspects(Columns):
    """Pairs of examples of two labels that may be one, most suspicious first.

    Attributes:
        anchor_R: example_id, int64.
        other_R: example_id, int64.
        distance_R: Squared L2 distance, float32.
        score_R: Higher is more suspect, float32.
    """

    anchor_R: Int64Array
    other_R: Int64Array
    distance_R: Float32Array
    score_R: Float32Array


@dataclass(frozen=True)
class MinDistances:
    """The minimum distance of a negative from an anchor.

    Attributes:
        ids_A: Anchors that have one, int64, ascending.
        distance_A: A negative must lie farther than this squared distance, float32.
    """

    ids_A: Int64Array
    distance_A: Float32Array

    def among(self, ids_P: Int64Array) -> "MinDistances":
        """Those of the anchors from the first to the last of ``ids_P``, which ascend."""
        stretch = slice(*np.searchsorted(self.ids_A, [ids_P[0], ids_P[-1] + 1])) if len(ids_P) else slice(0)
        return MinDistances(self.ids_A[stretch], self.distance_A[stretch])

    def of(self, ids_P: Int64Array) -> Float32Array:
        """Minimum distances of anchors, float32, shape (P,); -inf where there is none."""
        if not len(self.ids_A):
            return np.full(len(ids_P), _UNBOUNDED)
        row_P = np.minimum(np.searchsorted(self.ids_A, ids_P), len(self.ids_A) - 1)
        return np.where(self.ids_A[row_P] == ids_P, self.distance_A[row_P], _UNBOUNDED)


@dataclass(frozen=True)
class Suspects:
    """What was found among the neighbours of all examples.

    Attributes:
        mislabelled: Of the reason label_noise_suspect.
        near_duplicates: Each pair once, by the smaller id.
        mutual_neighbours: Each pair once, by the smaller id: each other's nearest of all, whatever their labels.
        false_negatives: An anchor with its nearest example of another label; all that are nearer than distance + score
            are closer than the share of its positives that was asked about.
        min_distances: Beyond these no suspicious pair is mined, and every other pair still is.
        neighbour_accuracy: Share of the examples with a positive whose nearest example is one.
    """

    mislabelled: LabelSuspects
    near_duplicates: PairSuspects
    mutual_neighbours: PairSuspects
    false_negatives: PairSuspects
    min_distances: MinDistances
    neighbour_accuracy: float


def find_twins(anchors_A: Int64Array, nearest: Nearest, distance: float) -> PairSuspects:
    """Pairs across labels that are all but equal, among the nearest of a block of anchors."""
    anchor_R, place_R = np.nonzero(nearest.found_PM & (nearest.d_an_PM <= distance))
    distance_R = nearest.d_an_PM[anchor_R, place_R]
    return PairSuspects(anchors_A[anchor_R], nearest.id_PM[anchor_R, place_R], distance_R, -distance_R)


def find_suspects(
    around: NeighbourStatistics, twins: Sequence[PairSuspects], twin_distance: float, min_label_noise: float
) -> Suspects:
    """Judges by the neighbours of all examples. Ties go to the smaller id, so blocks and their order do not matter.

    Args:
        around: Of all examples that may be mined.
        twins: As ``find_twins`` gave them for each block.
        twin_distance: For which it looked.
        min_label_noise: Least score of a mislabelled example.
    """
    duplicates = PairSuspects.concat(twins)
    is_closer_A = around.d_nearest_A < around.reach_A
    is_mutual_A = _are_mutual(around)
    min_A = np.full(len(around.ids_A), _UNBOUNDED)
    # Both of a pair: where candidates are sampled, only one may have found the other.
    min_A[np.isin(around.ids_A, np.concatenate([duplicates.anchor_R, duplicates.other_R]))] = twin_distance
    min_A[is_mutual_A] = np.maximum(min_A, around.d_nearest_A)[is_mutual_A]
    # A negative at reach is no closer than the positive there, and stays allowed.
    min_A[is_closer_A] = np.maximum(min_A, np.nextafter(around.reach_A, _UNBOUNDED))[is_closer_A]
    has_own_A, is_bounded_A = np.isfinite(around.d_own_A), min_A > _UNBOUNDED
    return Suspects(
        _mislabelled(around, min_label_noise),
        _each_once(duplicates),
        _each_once(_nearest_pairs(around, is_mutual_A, -around.d_nearest_A)),
        _ranked(_nearest_pairs(around, is_closer_A, around.reach_A - around.d_nearest_A)),
        MinDistances(around.ids_A[is_bounded_A], min_A[is_bounded_A]),
        float((around.d_own_A < around.d_nearest_A)[has_own_A].mean()) if has_own_A.any() else 0.0,
    )


def _are_mutual(around: NeighbourStatistics) -> npt.NDArray[np.bool_]:
    """Whose nearest of all is of another label, and has it for its own nearest of all."""
    is_other_A = around.d_nearest_A < around.d_own_A
    row_A = np.minimum(np.searchsorted(around.ids_A, around.nearest_A), len(around.ids_A) - 1)
    is_known_A = around.ids_A[row_A] == around.nearest_A
    mutual_A: npt.NDArray[np.bool_] = (
        is_other_A & is_known_A & is_other_A[row_A] & (around.nearest_A[row_A] == around.ids_A)
    )
    return mutual_A


def _mislabelled(around: NeighbourStatistics, min_score: float) -> LabelSuspects:
    """A singleton has no distance to its own label: it is taken to lie as far from it as the median example does."""
    is_known_A = np.isfinite(around.own_A)
    usual = np.median(around.own_A[is_known_A]) if is_known_A.any() else np.float32(0.0)
    own_A = np.where(is_known_A, around.own_A, usual)
    score_A = 1.0 - (around.other_A + _BLUR) / (own_A + _BLUR)
    rows = np.flatnonzero((score_A > min_score) & (around.suggested_A >= 0))
    rows = rows[np.lexsort((around.ids_A[rows], -score_A[rows]))]
    return LabelSuspects(around.ids_A[rows], score_A[rows].astype(np.float32), around.suggested_A[rows])


def _nearest_pairs(around: NeighbourStatistics, chosen_A: npt.NDArray[np.bool_], score_A: Float32Array) -> PairSuspects:
    return PairSuspects(
        around.ids_A[chosen_A], around.nearest_A[chosen_A], around.d_nearest_A[chosen_A], score_A[chosen_A]
    )


def _each_once(pairs: PairSuspects) -> PairSuspects:
    """Pairs that may be listed from both sides, from the smaller id's only."""
    low_R, high_R = np.minimum(pairs.anchor_R, pairs.other_R), np.maximum(pairs.anchor_R, pairs.other_R)
    _, rows = np.unique(low_R * (high_R.max(initial=0) + 1) + high_R, return_index=True)
    return _ranked(PairSuspects(low_R[rows], high_R[rows], pairs.distance_R[rows], pairs.score_R[rows]))


def _ranked(pairs: PairSuspects) -> PairSuspects:
    return pairs.take(np.lexsort((pairs.other_R, pairs.anchor_R, -pairs.score_R)))
