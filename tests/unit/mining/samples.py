"""What tests of mining ask of a shard, and how they compare answers."""

import numpy as np

from pipeline.config import BandConfig, PositivesConfig
from pipeline.mining.positives import select_positives
from pipeline.mining.queries import Queries, build_queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.triplets import Triplets


def queries_of(shard: Shard, band: BandConfig, positives: PositivesConfig, num_anchors: int | None = None) -> Queries:
    """The anchors of a shard, or the first of them, with their positives."""
    vectors, groups = ShardedVectors([shard]), LabelGroups(shard.ids_N, shard.labels_N)
    pairs = select_positives(positives, vectors, groups, groups.anchors_A[:num_anchors], 0)
    return build_queries(pairs, vectors, groups, band)


def merge(a: Nearest, b: Nearest) -> Nearest:
    merged = a.copy()
    merged.merge(b)
    return merged


def assert_same(found: Nearest, expected: Nearest) -> None:
    np.testing.assert_array_equal(found.id_PM, expected.id_PM)
    np.testing.assert_array_equal(found.d_an_PM, expected.d_an_PM)


def assert_same_triplets(found: Triplets, expected: Triplets) -> None:
    for column, other in zip(vars(found).values(), vars(expected).values(), strict=True):
        np.testing.assert_array_equal(column, other)
