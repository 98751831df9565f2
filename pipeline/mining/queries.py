"""Queries: what is asked of every shard about the pairs of a block of anchors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, FloatArray, Int32Array, Int64Array
from pipeline.config import BandConfig
from pipeline.mining.audit.suspects import MinDistances
from pipeline.mining.band import band_bounds
from pipeline.mining.positives import Pairs
from pipeline.mining.shards import LabelGroups, ShardedVectors


@dataclass(frozen=True)
class Queries:
    """Pairs to answer, grouped by anchor.

    Attributes:
        labels_A: Label codes of the anchors, int32, shape (A,).
        vectors_AD: Stored embeddings of the anchors, shape (A, D).
        row_P: The anchor's row of each pair, int64, ascending, shape (P,).
        lower_P: Open lower bound of d_an, float32, shape (P,).
        upper_P: Open upper bound of d_an, float32, shape (P,). Among the pairs of one anchor the upper bounds ascend
            with the lower ones, as those of every band do.
    """

    labels_A: Int32Array
    vectors_AD: FloatArray
    row_P: Int64Array
    lower_P: Float32Array
    upper_P: Float32Array

    def of_pairs(self, pairs_K: npt.NDArray[np.intp]) -> "Queries":
        """Some of the pairs, ascending, and only the anchors that they need."""
        anchors, row_K = np.unique(self.row_P[pairs_K], return_inverse=True)
        labels, vectors = self.labels_A[anchors], self.vectors_AD[anchors]
        return Queries(labels, vectors, row_K.astype(np.int64), self.lower_P[pairs_K], self.upper_P[pairs_K])


def build_queries(
    pairs: Pairs,
    vectors: ShardedVectors,
    groups: LabelGroups,
    band: BandConfig,
    min_distances: MinDistances | None = None,
) -> Queries:
    """What to ask of every shard about the pairs of a block; where anchors have minimum distances, beyond these."""
    anchors_A, row_P = np.unique(pairs.anchor_P, return_inverse=True)
    lower_P, upper_P = band_bounds(band, pairs.d_ap_P)
    if min_distances is not None:
        lower_P = np.maximum(lower_P, min_distances.of(pairs.anchor_P))
    return Queries(groups.labels_of(anchors_A), vectors.take(anchors_A), row_P.astype(np.int64), lower_P, upper_P)


def build_unbounded_queries(anchors_A: Int64Array, vectors: ShardedVectors, groups: LabelGroups) -> Queries:
    """Asks for the nearest examples of other labels around each anchor: a pair an anchor, in no band."""
    num_anchors = len(anchors_A)
    unbounded_A = np.full(num_anchors, np.inf, dtype=np.float32)
    return Queries(
        groups.labels_of(anchors_A), vectors.take(anchors_A), np.arange(num_anchors), -unbounded_A, unbounded_A
    )
