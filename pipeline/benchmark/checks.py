"""What every measurement is checked against: all distances of 256 anchors, in float64."""

from typing import Any

import numpy as np

from pipeline.arrays import Int64Array
from pipeline.benchmark.synthetic import World
from pipeline.errors import PipelineError
from pipeline.mining.backends.faiss import GPU_LONGEST_LIST
from pipeline.mining.backends.registry import BACKENDS
from pipeline.mining.queries import Queries
from pipeline.mining.sampling import sample_anchors
from pipeline.mining.shards import Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.verify import TOLERANCE, brute_force, check_consistency, compare

CHECKED_ANCHORS = 256


def check(backend: str, world: World, found: Nearest) -> dict[str, Any]:
    """Compares the answers of 256 anchors with brute force, and says what a list of 2,048 neighbours would miss.

    Raises:
        PipelineError: An exact backend disagrees.
    """
    some = sample_anchors(np.arange(len(world.queries.labels_A)), CHECKED_ANCHORS, 0)
    pair_K = np.flatnonzero(np.isin(world.queries.row_P, some))
    asked = world.queries.of_pairs(pair_K)
    mined = found.take(pair_K)
    expected = brute_force(asked, world.shard, mined.id_PM.shape[1])
    consistent = check_consistency(asked, mined, ShardedVectors([world.shard]), world.groups)
    agreement = compare(mined, consistent, expected)
    if BACKENDS[backend].is_exact and agreement.share < 1.0:
        raise PipelineError(
            f"backend {backend} disagrees with brute force on {1 - agreement.share:.2%} of the pairs: please report it"
        )
    nearer = num_nearer_negatives(asked, world.shard, mined)
    answered = mined.found_PM[:, 0]
    has_negative = expected.found_PM[:, 0]
    return {
        "checked_pairs": agreement.num_pairs,
        "agreement_with_brute_force": agreement.share,
        "answerable_pairs_answered": float(answered[has_negative].mean()) if has_negative.any() else 1.0,
        "pairs_with_a_negative": float(found.found_PM[:, 0].mean()),
        "missed_by_the_nearest_2048": float((nearer[answered] >= GPU_LONGEST_LIST).mean()) if answered.any() else 0.0,
    }


def rank_of(world: World, found: Nearest) -> Int64Array:
    """The rank of the first negative found among all negatives in band, for the answered pairs of 256 anchors."""
    some = sample_anchors(np.arange(len(world.queries.labels_A)), CHECKED_ANCHORS, 0)
    pair_K = np.flatnonzero(np.isin(world.queries.row_P, some) & found.found_PM[:, 0])
    asked = world.queries.of_pairs(pair_K)
    return 1 + num_nearer_negatives(asked, world.shard, found.take(pair_K), True)


def num_nearer_negatives(queries: Queries, shard: Shard, found: Nearest, in_band: bool = False) -> Int64Array:
    """How many negatives (of those in band, or of all) are nearer than the first one found, for each pair."""
    counts = np.zeros(len(queries.row_P), dtype=np.int64)
    a_AD = queries.vectors_AD.astype(np.float64)
    for start in range(0, len(shard), 1 << 15):
        rows = slice(start, start + (1 << 15))
        c_CD = shard.vectors_ND[rows].astype(np.float64)
        d_AC = (a_AD**2).sum(1)[:, None] + (c_CD**2).sum(1)[None, :] - 2.0 * (a_AD @ c_CD.T)
        d_AC[queries.labels_A[:, None] == shard.labels_N[None, rows]] = np.inf
        for pair, anchor in enumerate(queries.row_P):
            nearer = d_AC[anchor] < found.d_an_PM[pair, 0] - TOLERANCE
            if in_band:
                nearer &= d_AC[anchor] > queries.lower_P[pair]
            counts[pair] += np.count_nonzero(nearer)
    return counts
