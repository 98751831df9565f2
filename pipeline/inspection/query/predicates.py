"""Predicates that every triplet of a generation must fulfil. Arrays in, masks of broken rows out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import BoolArray, Float32Array, FloatArray, Int32Array, Int64Array
from pipeline.config import BandConfig
from pipeline.mining.band import band_bounds
from pipeline.mining.distance import squared_distances
from pipeline.mining.triplets import Triplets
from pipeline.mining.verify import TOLERANCE

BrokenMask = tuple[str, BoolArray]
"""The name of a predicate, and which triplets break it, bool, shape (T,)."""

PROBLEMS = {
    "ids_in_corpus": "name an example that is not in the corpus",
    "anchor_is_not_positive": "have their anchor as positive",
    "positive_has_label": "have a positive of another label than the anchor's",
    "negative_has_other_label": "have a negative of the anchor's label",
    "no_test_example": "hold an example that is kept for evaluation",
    "no_excluded_example": "hold an example that the quarantine excludes",
    "no_excluded_pair": "have for their negative an example that the quarantine keeps from their anchor",
    "distances_are_numbers": "have a distance that is below 0 or no number",
    "in_band": "have their negative outside the band",
    "d_ap_as_defined": "have another d_ap than the stored embeddings",
    "d_an_as_defined": "have another d_an than the stored embeddings",
}
"""What is wrong with triplets that break a predicate, by its name."""

_ROWS_AT_ONCE = 256  # three of their blocks of vectors, widened to float64, stay in a core's cache


@dataclass(frozen=True)
class Eligibility:
    """Which examples of a corpus of N may be in which triplets.

    Attributes:
        labels_N: Label codes, int32.
        is_test_N: Kept for evaluation, bool.
        is_excluded_N: Left out of mining altogether, bool.
        excluded_pairs: Of anchor and negative, as ``pair_keys`` gives them, int64, ascending.
    """

    labels_N: Int32Array
    is_test_N: BoolArray
    is_excluded_N: BoolArray
    excluded_pairs: Int64Array

    @classmethod
    def of(cls, labels_N: Int32Array, is_test_N: BoolArray) -> "Eligibility":
        """Of a corpus without a quarantine."""
        return cls(labels_N, is_test_N, np.zeros(len(labels_N), dtype=np.bool_), np.empty(0, dtype=np.int64))

    def without(self, ids: Int64Array, pairs_P2: Int64Array) -> "Eligibility":
        """The same, with these examples and (anchor, negative) pairs excluded."""
        is_excluded_N = self.is_excluded_N.copy()
        is_excluded_N[ids] = True
        return replace(self, is_excluded_N=is_excluded_N, excluded_pairs=np.sort(self.pair_keys(*pairs_P2.T)))

    def pair_keys(self, anchor_T: Int64Array, negative_T: Int64Array) -> Int64Array:
        """A number for each pair."""
        return anchor_T * len(self.labels_N) + negative_T


def check_ids(triplets: Triplets, eligibility: Eligibility, band: BandConfig) -> Iterator[BrokenMask]:
    """Checks everything that needs no vectors: ids, labels, roles, and the band by the published distances.

    Labels and roles are not checked for a triplet with an id that is not in the corpus.
    """
    d_ap, d_an = triplets.d_ap_T, triplets.d_an_T
    ids_3T = np.stack([triplets.anchor_T, triplets.positive_T, triplets.negative_T])
    known: BoolArray = np.asarray(((ids_3T >= 0) & (ids_3T < len(eligibility.labels_N))).all(axis=0))
    yield "ids_in_corpus", ~known
    yield "anchor_is_not_positive", triplets.anchor_T == triplets.positive_T
    ids_3T = np.where(known, ids_3T, 0)
    label_a, label_p, label_n = eligibility.labels_N[ids_3T]
    yield "positive_has_label", known & (label_p != label_a)
    yield "negative_has_other_label", known & (label_n == label_a)
    yield "no_test_example", known & eligibility.is_test_N[ids_3T].any(axis=0)
    yield "no_excluded_example", known & eligibility.is_excluded_N[ids_3T].any(axis=0)
    yield "no_excluded_pair", known & _is_among(eligibility.pair_keys(ids_3T[0], ids_3T[2]), eligibility.excluded_pairs)
    yield "distances_are_numbers", ~((d_ap >= 0) & (d_an >= 0) & np.isfinite(d_ap) & np.isfinite(d_an))
    yield "in_band", ~in_band(band, d_ap, d_an)


def check_distances(
    triplets: Triplets, vectors_ND: FloatArray, rows_3T: Int64Array
) -> tuple[tuple[BrokenMask, BrokenMask], float]:
    """Checks published distances against those of the vectors, by the definition, to TOLERANCE.

    Args:
        triplets: T of them.
        vectors_ND: Stored embeddings.
        rows_3T: Rows in ``vectors_ND`` of anchors, positives and negatives, int64; -1 for an example without a row,
            whose triplets are not checked.

    Returns:
        Triplets whose d_ap, and whose d_an, is another; and the largest difference.
    """
    published_2T, off_2T = (triplets.d_ap_T, triplets.d_an_T), np.empty((2, len(triplets)))
    for start in range(0, len(triplets), _ROWS_AT_ONCE):
        at = slice(start, start + _ROWS_AT_ONCE)
        anchors = vectors_ND[rows_3T[0, at]]
        for published_T, off_T, rows_T in zip(published_2T, off_2T, rows_3T[1:], strict=True):
            defined = squared_distances(anchors, vectors_ND[rows_T[at]]).astype(np.float32)
            off_T[at] = np.abs(published_T[at].astype(np.float64) - defined)
    off_2T[:, (rows_3T < 0).any(axis=0)] = 0.0
    d_ap_is_off, d_an_is_off = ~(off_2T <= TOLERANCE)  # not >: NaN is off too
    return (("d_ap_as_defined", d_ap_is_off), ("d_an_as_defined", d_an_is_off)), float(off_2T.max(initial=0.0))


def _is_among(key_T: Int64Array, sorted_keys: Int64Array) -> BoolArray:
    if not len(sorted_keys):
        return np.zeros(len(key_T), dtype=np.bool_)
    place_T = np.minimum(np.searchsorted(sorted_keys, key_T), len(sorted_keys) - 1)
    among: BoolArray = sorted_keys[place_T] == key_T
    return among


def in_band(band: BandConfig, d_ap_T: Float32Array, d_an_T: Float32Array) -> BoolArray:
    """Whether each d_an lies strictly inside the band of its d_ap."""
    lower_T, upper_T = band_bounds(band, d_ap_T)
    inside: BoolArray = (lower_T < d_an_T) & (d_an_T < upper_T)
    return inside
