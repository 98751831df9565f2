"""What is asked of the compiled scan about a block of anchors: each interval once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, FloatArray, Int64Array
from pipeline.mining.queries import Queries


@dataclass(frozen=True)
class Question:
    """A block of anchors, and the intervals that each asks for, once each, as ``unique_intervals`` gives them."""

    anchors_AD: FloatArray
    labels_A: npt.NDArray[np.int32]
    first_pair: Int64Array
    lower_U: Float32Array
    upper_U: Float32Array


def unique_intervals(queries: Queries) -> tuple[Int64Array, Int64Array, Float32Array, Float32Array]:
    """The intervals that each anchor asks for, once each, by ascending bounds. U intervals.

    Pairs of one anchor often share an interval (all do, in hard and range mode), and so an answer.

    Returns:
        Where each anchor's intervals begin, int64, shape (A + 1,); the interval of each pair, int64, shape (P,);
        their lower and upper bounds, float32, shape (U,).
    """
    lower_P, upper_P, row_P = (np.asarray(x) for x in (queries.lower_P, queries.upper_P, queries.row_P))
    order = np.lexsort((upper_P, lower_P, row_P))
    row, lower, upper = row_P[order], lower_P[order], upper_P[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (row[1:] != row[:-1]) | (lower[1:] != lower[:-1]) | (upper[1:] != upper[:-1])
    interval_P = np.empty(len(order), dtype=np.int64)
    interval_P[order] = np.cumsum(is_new) - 1
    first_pair = np.searchsorted(row[is_new], np.arange(len(queries.labels_A) + 1)).astype(np.int64)
    return first_pair, interval_P, lower[is_new].astype(np.float32), upper[is_new].astype(np.float32)
