"""Which positives an anchor is paired with: all (FaceNet's choice), the hardest, the easiest, or random ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array, Int64Array
from pipeline.config import PositivesConfig
from pipeline.mining.columns import Columns
from pipeline.mining.distance import squared_distances
from pipeline.mining.sampling import hash_ids
from pipeline.mining.shards import LabelGroups, ShardedVectors

_PAIRS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Pairs(Columns):
    """(anchor, positive) pairs, sorted by anchor, then positive.

    Attributes:
        anchor_P: example_id, int64, shape (P,).
        positive_P: example_id, int64, shape (P,).
        d_ap_P: Squared L2 distance, float64, shape (P,).
    """

    anchor_P: Int64Array
    positive_P: Int64Array
    d_ap_P: Float64Array


def select_positives(
    config: PositivesConfig, vectors: ShardedVectors, groups: LabelGroups, anchors_A: Int64Array, seed: int
) -> Pairs:
    """Pairs a block of anchors with positives.

    Args:
        config: Policy and caps.
        vectors: Random access to the embeddings.
        groups: Who shares a label.
        anchors_A: Anchors of the block, int64, ascending, each with at least one positive.
        seed: Decides random choices; a choice depends on (seed, anchor, positive) alone, so blocks do not matter.

    Returns:
        The chosen pairs.
    """
    none = Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))
    chunks = [
        _select(config, vectors, anchor_P, positive_P, seed) for anchor_P, positive_P in _all_pairs(groups, anchors_A)
    ]
    return Pairs.concat([none, *chunks])


def nearest_positives(pairs: Pairs, num: int) -> Pairs:
    """The ``num`` nearest of each anchor's pairs, ties by id."""
    return pairs.take(_first_per_anchor(pairs.anchor_P, pairs.d_ap_P.astype(np.float32), pairs.positive_P, num))


def _all_pairs(groups: LabelGroups, anchors_A: Int64Array) -> Iterator[tuple[Int64Array, Int64Array]]:
    """All pairs of the anchors, a bounded number at once, never splitting an anchor's own."""
    start_A, end_A = groups.members(groups.labels_of(anchors_A))
    size_A = end_A - start_A
    chunk_A = (np.cumsum(size_A) - size_A) // _PAIRS_AT_ONCE
    for chunk in np.unique(chunk_A):
        rows = np.flatnonzero(chunk_A == chunk)
        size = size_A[rows]
        anchor_P = np.repeat(anchors_A[rows], size)
        within_P = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        positive_P = groups.ids_N[np.repeat(start_A[rows], size) + within_P]
        other_P = anchor_P != positive_P
        yield anchor_P[other_P], positive_P[other_P]


def _select(
    config: PositivesConfig, vectors: ShardedVectors, anchor_P: Int64Array, positive_P: Int64Array, seed: int
) -> Pairs:
    keep: npt.NDArray[np.intp] | slice = slice(None)
    if config.policy == "random" or (config.policy == "all" and config.max_per_anchor is not None):
        limit = config.num_per_anchor if config.policy == "random" else config.max_per_anchor
        assert limit is not None
        keep = _first_per_anchor(anchor_P, hash_ids(seed, anchor_P, positive_P), positive_P, limit)
    anchor_P, positive_P = anchor_P[keep], positive_P[keep]
    pairs = Pairs(anchor_P, positive_P, _distances(vectors, anchor_P, positive_P))
    if config.policy in ("hardest", "easiest"):
        # Ranked by the published float32, so that equal published distances tie by id.
        rank_P = pairs.d_ap_P.astype(np.float32)
        rank_P = -rank_P if config.policy == "hardest" else rank_P
        return pairs.take(_first_per_anchor(anchor_P, rank_P, positive_P, config.num_per_anchor))
    return pairs


def _distances(vectors: ShardedVectors, anchor_P: Int64Array, positive_P: Int64Array) -> Float64Array:
    out_P = np.empty(len(anchor_P), dtype=np.float64)
    step = 1 << 13
    for start in range(0, len(anchor_P), step):
        rows = slice(start, start + step)
        out_P[rows] = squared_distances(vectors.take(anchor_P[rows]), vectors.take(positive_P[rows]))
    return out_P


def _first_per_anchor(
    anchor_P: Int64Array, key_P: npt.NDArray[np.generic], positive_P: Int64Array, limit: int
) -> npt.NDArray[np.intp]:
    """Rows of the ``limit`` smallest (key, positive) of each anchor, in the given order of rows."""
    order = np.lexsort((positive_P, key_P, anchor_P))
    sorted_anchor = anchor_P[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_anchor, sorted_anchor, side="left")
    return np.sort(order[rank < limit])
