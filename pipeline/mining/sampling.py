"""Seeded choices that depend on what is chosen alone: not on blocks, shards, order or machine."""

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Int64Array
from pipeline.mining.shards import Shard


def hash_ids(seed: int, *ids: Int64Array) -> npt.NDArray[np.uint64]:
    """A random-looking 64-bit key of (seed, id, id, …): the SplitMix64 finaliser, applied to each in turn.

    Args:
        seed: Any integer.
        *ids: Arrays of one length, int64, shape (P,).

    Returns:
        uint64, shape (P,).
    """
    state = np.full(len(ids[0]), seed % 2**64, dtype=np.uint64)
    for column in ids:
        state = state + column.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def sample_candidates(shard: Shard, fraction: float, seed: int) -> Shard:
    """A random share of a shard's examples.

    Mining among them is exact for them; the nearest of a share f has, in expectation, rank 1/f among all.

    Args:
        shard: Examples.
        fraction: Share that is kept, in (0, 1].
        seed: Another seed, another sample.
    """
    if fraction >= 1.0:
        return shard
    return shard.take(hash_ids(seed, shard.ids_N) < np.uint64(int(fraction * 2**64)))


def sample_anchors(anchors_A: Int64Array, num: int, seed: int) -> Int64Array:
    """At most ``num`` of the anchors, ascending, chosen by seed."""
    order = np.argsort(hash_ids(-1 - seed, anchors_A), kind="stable")  # not the draw that chooses candidates
    return np.sort(anchors_A[order[:num]])
