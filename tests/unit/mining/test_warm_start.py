from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from pipeline.config import BandConfig, PositivesConfig
from pipeline.mining.backends.native.compiled import unavailable_reason
from pipeline.mining.backends.native.search import NativeScan
from pipeline.mining.backends.reference import scan
from pipeline.mining.positives import Pairs, select_positives
from pipeline.mining.queries import Queries, build_queries
from pipeline.mining.sampling import sample_candidates
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.triplets import Triplets
from pipeline.mining.warm_start import prune_bounds, rescore
from tests.support.oracle import listed, unit_vectors
from tests.unit.mining.samples import assert_same, merge

Scan: TypeAlias = Callable[[Queries, Shard, int], Nearest]

LABELS = (np.arange(600) // 6).astype(np.int32)


def world(noise: float = 0.8) -> tuple[Shard, LabelGroups, Pairs, Queries]:
    shard = Shard(np.arange(600), LABELS, unit_vectors(np.random.default_rng(0), LABELS, 12, noise))
    groups, vectors = LabelGroups(shard.ids_N, LABELS), ShardedVectors([shard])
    pairs = select_positives(PositivesConfig(), vectors, groups, groups.anchors_A, 0)
    return shard, groups, pairs, build_queries(pairs, vectors, groups, BandConfig())


def old_triplets(pairs: Pairs, seed: int) -> Triplets:
    """Random negatives for a shuffled half of the pairs, and some for pairs that are not asked for."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(pairs))[: len(pairs) // 2]
    anchor, positive = pairs.anchor_P[rows], pairs.positive_P[rows]
    negative = rng.integers(0, 620, len(rows))  # some beyond the corpus
    strangers = np.array([0, 1, 700])
    return listed(
        np.concatenate([anchor, strangers]),
        np.concatenate([positive, [300, 1, 701]]),
        np.concatenate([negative, [5, 6, 7]]),
    )


def native_scan(queries: Queries, shard: Shard, num_negatives: int) -> Nearest:
    return NativeScan(shard)(queries, num_negatives)[0]


@pytest.mark.parametrize("num_negatives", [1, 3])
def test_a_warm_start_changes_no_triplet(num_negatives: int) -> None:
    shard, groups, pairs, queries = world()
    cold = scan(queries, shard, num_negatives)
    for old in (
        old_triplets(pairs, 1),
        listed(np.repeat(pairs.anchor_P, 2), np.repeat(pairs.positive_P, 2), np.repeat(cold.id_PM[:, 0], 2)),
    ):
        known = rescore(old, pairs, queries, ShardedVectors([shard]), groups, num_negatives)
        warm = merge(scan(prune_bounds(queries, known), shard, num_negatives), known)
        assert_same(warm, cold)


def test_only_negatives_that_hold_today_are_kept() -> None:
    shard, groups, pairs, queries = world()
    known = rescore(old_triplets(pairs, 2), pairs, queries, ShardedVectors([shard]), groups, 2)
    rows, places = np.nonzero(known.found_PM)
    assert len(rows) > 20
    d_an = known.d_an_PM[rows, places]
    assert ((queries.lower_P[rows] < d_an) & (d_an < queries.upper_P[rows])).all()
    assert (LABELS[known.id_PM[rows, places]] != LABELS[pairs.anchor_P[rows]]).all()


@pytest.mark.parametrize("search", [scan, *([] if unavailable_reason() else [native_scan])])
@pytest.mark.parametrize("num_negatives", [1, 2])
def test_with_a_sample_nothing_is_lost_and_what_was_good_stays(search: Scan, num_negatives: int) -> None:
    shard, groups, pairs, queries = world(1.5)
    sample = sample_candidates(shard, 0.1, 0)
    best = scan(queries, shard, 1)
    rows = np.flatnonzero(best.found_PM[:, 0])[::3]
    old = listed(pairs.anchor_P[rows], pairs.positive_P[rows], best.id_PM[rows, 0])
    known = rescore(old, pairs, queries, ShardedVectors([shard]), groups, num_negatives)
    warm = merge(search(prune_bounds(queries, known), sample, num_negatives), known)
    expected = merge(scan(queries, sample, num_negatives), known)
    np.testing.assert_array_equal(warm.id_PM, expected.id_PM)
    assert len(rows) > 100 and (expected.id_PM[rows, 0] == best.id_PM[rows, 0]).all()


def test_bounds_of_an_anchor_still_ascend_together() -> None:
    shard, groups, pairs, queries = world(2.0)
    known = rescore(old_triplets(pairs, 3), pairs, queries, ShardedVectors([shard]), groups, 1)
    assert known.found_PM.mean() > 0.03
    tight = prune_bounds(queries, known)
    assert (tight.upper_P <= queries.upper_P).all() and (tight.upper_P < queries.upper_P).any()
    for anchor in range(len(queries.labels_A)):
        rows = np.flatnonzero(queries.row_P == anchor)
        rows = rows[np.argsort(queries.lower_P[rows], kind="stable")]
        assert (np.diff(tight.upper_P[rows]) >= 0).all()
    if unavailable_reason() is None:
        best = merge(NativeScan(shard)(tight, 1)[0], known)
        np.testing.assert_array_equal(best.id_PM, scan(queries, shard, 1).id_PM)


def test_nothing_known_changes_nothing() -> None:
    _, _, _, queries = world()
    np.testing.assert_array_equal(prune_bounds(queries, Nearest.empty(len(queries.row_P), 2)).upper_P, queries.upper_P)
