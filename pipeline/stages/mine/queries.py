"""What is asked of the shards about a block of anchors: plain functions, which any node can run."""

from pipeline.config import AuditConfig, MiningConfig, PositivesConfig
from pipeline.mining.audit.neighbours import MOST_OWN
from pipeline.mining.audit.suspects import Floors
from pipeline.mining.backends.reference import Queries
from pipeline.mining.distance import Int64Array
from pipeline.mining.miner import make_queries, neighbour_queries
from pipeline.mining.positives import Pairs, nearest_positives, select_positives
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.warm_start import OldTriplets, rescore, tighten

Asked = tuple[Queries, tuple[Pairs, Nearest]]


def ask_for_negatives(
    anchors_A: Int64Array,
    groups: LabelGroups,
    old: OldTriplets | None,
    floors: Floors | None,
    mining: MiningConfig,
    backend: str,
    seed: int,
    *sources: Shard,
) -> Asked:
    """Pairs a block of anchors with positives.

    Args:
        anchors_A: The anchors, int64, ascending, shape (A,).
        groups: Who shares a label.
        old: The anchors' triplets in the generation before, for a warm start.
        floors: How near a negative may not be to them.
        mining: What is mined in this pass; a curriculum changes it from refresh to refresh.
        backend: As ``resolve_backend`` gave it.
        seed: Of the run; draws positives.
        *sources: Hold the vectors of the anchors, of all that share their labels, and of the old negatives. Read-only
            views of Ray's shared memory.

    Returns:
        What to ask every shard; the pairs, and what is known of their negatives from the generation before.
    """
    vectors = ShardedVectors(sources)
    pairs = select_positives(mining.positives, vectors, groups, anchors_A, seed)
    queries = make_queries(pairs, vectors, groups, mining.band, floors)
    known = Nearest.empty(len(pairs), mining.negatives_per_pair)
    if old is not None:
        known = rescore(old, pairs, queries, vectors, groups, mining.negatives_per_pair)
    # A shard's index cannot tell a band that was cut at a negative of another shard from one it fails in.
    return queries if backend == "faiss" else tighten(queries, known), (pairs, known)


def ask_for_neighbours(
    anchors_A: Int64Array, groups: LabelGroups, audit: AuditConfig, num_own: int, seed: int, *sources: Shard
) -> Asked:
    """Asks for the nearest examples of other labels around a block of anchors.

    Args:
        anchors_A: The anchors, int64, ascending, shape (A,); singletons may be among them.
        groups: Who shares a label.
        audit: Says how many neighbours.
        num_own: How many of their own label.
        seed: Of the run; draws those of their own label that are compared, where these are many.
        *sources: Hold the vectors of the anchors and of all that share their labels.

    Returns:
        What to ask every shard; the nearest examples of the anchors' own labels, and that no others are known.
    """
    vectors = ShardedVectors(sources)
    compared = PositivesConfig(policy="all", max_per_anchor=MOST_OWN)
    own = select_positives(compared, vectors, groups, anchors_A, seed)
    known = Nearest.empty(len(anchors_A), audit.num_neighbours)
    return neighbour_queries(anchors_A, vectors, groups), (nearest_positives(own, num_own), known)
