"""Triplets: what mining gives."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Float32Array, Int64Array
from pipeline.mining.columns import Columns
from pipeline.mining.positives import Pairs
from pipeline.mining.topk import Nearest


@dataclass(frozen=True)
class Triplets(Columns):
    """Mined triplets, sorted by anchor, positive, rank of the negative. T rows.

    Attributes:
        anchor_T: example_id, int64.
        positive_T: example_id, int64.
        negative_T: example_id, int64.
        d_ap_T: Squared L2 distance anchor to positive, float32.
        d_an_T: Squared L2 distance anchor to negative, float32.
    """

    anchor_T: Int64Array
    positive_T: Int64Array
    negative_T: Int64Array
    d_ap_T: Float32Array
    d_an_T: Float32Array


def to_triplets(pairs: Pairs, nearest: Nearest) -> tuple[Triplets, int]:
    """The triplets of a block, and how many of its pairs have no negative in their band."""
    pair_T, place_T = np.nonzero(nearest.found_PM)
    triplets = Triplets(
        pairs.anchor_P[pair_T],
        pairs.positive_P[pair_T],
        nearest.id_PM[pair_T, place_T],
        pairs.d_ap_P[pair_T].astype(np.float32),
        nearest.d_an_PM[pair_T, place_T],
    )
    return triplets, int(np.count_nonzero(~nearest.found_PM[:, 0]))
