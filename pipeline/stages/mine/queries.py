"""What is asked of the shards about a block of anchors: plain functions, which any node can run."""

from dataclasses import dataclass

from pipeline.arrays import Int64Array
from pipeline.config import AuditConfig, MiningConfig, PositivesConfig
from pipeline.mining.audit.neighbours import MOST_OWN
from pipeline.mining.audit.suspects import MinDistances
from pipeline.mining.backends.registry import BACKENDS
from pipeline.mining.positives import Pairs, nearest_positives, select_positives
from pipeline.mining.queries import Queries, build_queries, build_unbounded_queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.triplets import Triplets
from pipeline.mining.warm_start import prune_bounds, rescore

BlockQueries = tuple[Queries, tuple[Pairs, Nearest]]
"""What to ask every shard; the block's pairs, and the negatives of theirs that are known already."""


@dataclass(frozen=True)
class AnchorBlock:
    """A block of anchors, and what the driver knows of them.

    Attributes:
        anchors_A: The anchors, int64, ascending, shape (A,).
        previous: Their triplets in the generation before, for a warm start.
        min_distances: How near a negative may not be to them.
    """

    anchors_A: Int64Array
    previous: Triplets | None
    min_distances: MinDistances | None


def build_negative_queries(
    block: AnchorBlock, groups: LabelGroups, mining: MiningConfig, backend: str, seed: int, *sources: Shard
) -> BlockQueries:
    """Pairs a block of anchors with positives, and asks for negatives inside the band of each pair.

    Args:
        block: The anchors.
        groups: Who shares a label.
        mining: What is mined in this pass; a curriculum changes it from refresh to refresh.
        backend: As ``resolve_backend`` gave it.
        seed: Of the run; draws positives.
        *sources: Hold the vectors of the anchors, of all that share their labels, and of the old negatives. Read-only
            views of Ray's shared memory.
    """
    vectors = ShardedVectors(sources)
    pairs = select_positives(mining.positives, vectors, groups, block.anchors_A, seed)
    queries = build_queries(pairs, vectors, groups, mining.band, block.min_distances)
    known = Nearest.empty(len(pairs), mining.negatives_per_pair)
    if block.previous is not None:
        known = rescore(block.previous, pairs, queries, vectors, groups, mining.negatives_per_pair)
    return prune_bounds(queries, known) if BACKENDS[backend].is_exact else queries, (pairs, known)


def build_neighbour_queries(
    anchors_A: Int64Array, groups: LabelGroups, audit: AuditConfig, num_own: int, seed: int, *sources: Shard
) -> BlockQueries:
    """Asks for the nearest examples of other labels around a block of anchors.

    Args:
        anchors_A: The anchors, int64, ascending, shape (A,); singletons may be among them.
        groups: Who shares a label.
        audit: Says how many neighbours.
        num_own: How many of their own label: these are the pairs that are returned.
        seed: Of the run; draws those of their own label that are compared, where these are many.
        *sources: Hold the vectors of the anchors and of all that share their labels.
    """
    vectors = ShardedVectors(sources)
    compared = PositivesConfig(policy="all", max_per_anchor=MOST_OWN)
    own = select_positives(compared, vectors, groups, anchors_A, seed)
    known = Nearest.empty(len(anchors_A), audit.num_neighbours)
    return build_unbounded_queries(anchors_A, vectors, groups), (nearest_positives(own, num_own), known)
