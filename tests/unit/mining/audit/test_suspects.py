"""N examples, all of them anchors; the oracle is brute force over all distances, from the definitions alone."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import AuditConfig, BandConfig, PositivesConfig
from pipeline.mining.audit.neighbours import MOST_OWN, concat_blocks, neighbour_statistics, num_own
from pipeline.mining.audit.suspects import MinDistances, Suspects, find_suspects, find_twins
from pipeline.mining.backends.reference import scan
from pipeline.mining.positives import nearest_positives, select_positives
from pipeline.mining.queries import build_queries, build_unbounded_queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import NO_ID, Nearest
from tests.support.oracle import all_distances, unit_vectors

TWINS = 0.05
Labels = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]


def search(
    vectors_ND: Vectors, labels_N: Labels, config: AuditConfig, num_shards: int = 1, size: int = 1000
) -> Suspects:
    """As the stage does it: blocks against shards, merged."""
    ids = np.arange(len(labels_N), dtype=np.int64)
    shards = [Shard(ids[rows], labels_N[rows], vectors_ND[rows]) for rows in np.array_split(ids, num_shards)]
    vectors, groups = ShardedVectors(shards), LabelGroups(ids, labels_N)
    compared = PositivesConfig(max_per_anchor=MOST_OWN)
    blocks, twins = [], []
    for start in range(0, len(ids), size):
        anchors = ids[start : start + size]
        nearest = Nearest.empty(len(anchors), config.num_neighbours)
        for shard in shards:
            nearest.merge(scan(build_unbounded_queries(anchors, vectors, groups), shard, config.num_neighbours))
        own = select_positives(compared, vectors, groups, anchors, 0)
        own = nearest_positives(own, num_own(groups, config.closer_than_share))
        blocks.append(neighbour_statistics(anchors, nearest, own, groups, config.closer_than_share))
        twins.append(find_twins(anchors, nearest, TWINS))
    return find_suspects(concat_blocks(blocks[::-1]), twins, TWINS, config.min_label_noise)


def clusters(num: int, num_labels: int, noise: float, seed: int) -> tuple[Vectors, Labels]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, num).astype(np.int32)
    return unit_vectors(rng, labels, 16, noise), labels


def distances(vectors_ND: Vectors, labels_N: Labels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """To examples of the own label, and to those of others, inf elsewhere; float32, shape (N, N)."""
    d_NN = all_distances(vectors_ND).astype(np.float32)
    same_NN = labels_N[:, None] == labels_N[None, :]
    itself_NN = np.eye(len(labels_N), dtype=bool)
    return np.where(same_NN & ~itself_NN, d_NN, np.inf), np.where(same_NN, np.inf, d_NN)


@settings(max_examples=30)
@given(
    num=st.integers(4, 64),
    num_labels=st.integers(2, 25),
    noise=st.sampled_from([0.1, 0.4, 1.0]),
    share=st.sampled_from([1.0, 0.8, 0.5]),
    num_shards=st.integers(1, 4),
    size=st.sampled_from([7, 64, 1000]),
    seed=st.integers(0, 100),
)
def test_pairs_of_suspects_are_those_of_brute_force_whatever_the_blocks_and_shards(
    num: int, num_labels: int, noise: float, share: float, num_shards: int, size: int, seed: int
) -> None:
    vectors, labels = clusters(num, num_labels, noise, seed)
    config = AuditConfig(closer_than_share=share, num_neighbours=64)
    found = search(vectors, labels, config, num_shards, size)
    own, other = distances(vectors, labels)
    nearest, all_nearest = other.argmin(axis=1), np.minimum(own, other).argmin(axis=1)
    counts = np.isfinite(own).sum(axis=1)
    closer = {
        (i, nearest[i])
        for i in range(num)
        if counts[i]
        and np.isfinite(other[i, nearest[i]])
        # no more than 1 - share of its positives are as near
        and (own[i] <= other[i, nearest[i]]).sum() <= int((1.0 - share) * counts[i])
    }
    assert set(zip(found.false_negatives.anchor_R, found.false_negatives.other_R, strict=True)) == closer
    mutual = {
        (min(i, j), max(i, j))
        for i, j in enumerate(all_nearest)
        if all_nearest[j] == i and labels[i] != labels[j] and np.isfinite(other[i, j])
    }
    assert set(zip(found.mutual_neighbours.anchor_R, found.mutual_neighbours.other_R, strict=True)) == mutual
    twins = {(i, j) for i, j in zip(*np.nonzero(other <= np.float32(TWINS)), strict=True) if i < j}
    assert set(zip(found.near_duplicates.anchor_R, found.near_duplicates.other_R, strict=True)) == twins
    for pairs in (found.false_negatives, found.mutual_neighbours, found.near_duplicates):
        np.testing.assert_array_equal(pairs.distance_R, other[pairs.anchor_R, pairs.other_R])
        assert (np.diff(pairs.score_R) <= 0).all()
    has_own = counts > 0
    accuracy = (own.min(axis=1) < other.min(axis=1))[has_own].mean() if has_own.any() else 0.0
    assert found.neighbour_accuracy == pytest.approx(accuracy)


@settings(max_examples=30)
@given(
    num=st.integers(4, 64),
    num_labels=st.integers(2, 30),
    share=st.sampled_from([1.0, 0.7]),
    band=st.sampled_from([BandConfig(mode="hard"), BandConfig(), BandConfig(mode="range", low=0.1, high=1.5)]),
    num_negatives=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_above_the_floors_no_suspicious_pair_is_mined_and_every_other_one_still_is(
    num: int, num_labels: int, share: float, band: BandConfig, num_negatives: int, seed: int
) -> None:
    vectors, labels = clusters(num, num_labels, 0.5, seed)
    config = AuditConfig(closer_than_share=share, num_neighbours=64)
    found = search(vectors, labels, config)
    own, other = distances(vectors, labels)
    forbidden = other <= np.float32(TWINS)
    for pairs in (found.mutual_neighbours,):
        forbidden[pairs.anchor_R, pairs.other_R] = forbidden[pairs.other_R, pairs.anchor_R] = True
    for i in found.false_negatives.anchor_R:  # not the nearest alone: all that are closer than the share
        reach = np.sort(own[i])[int((1.0 - share) * np.isfinite(own[i]).sum())]
        forbidden[i] |= other[i] < reach
    ids = np.arange(num, dtype=np.int64)
    shard, groups = Shard(ids, labels, vectors), LabelGroups(ids, labels)
    random_access = ShardedVectors([shard])
    pairs_P = select_positives(PositivesConfig(), random_access, groups, groups.anchors_A, 0)
    if not len(pairs_P):
        return
    free = build_queries(pairs_P, random_access, groups, band)
    mined = scan(build_queries(pairs_P, random_access, groups, band, found.min_distances), shard, num_negatives)
    for pair, anchor in enumerate(pairs_P.anchor_P):
        inside = (other[anchor] > free.lower_P[pair]) & (other[anchor] < free.upper_P[pair]) & ~forbidden[anchor]
        allowed = np.flatnonzero(inside)
        best = allowed[np.lexsort((allowed, other[anchor][allowed]))][:num_negatives]
        assert mined.id_PM[pair][mined.id_PM[pair] != NO_ID].tolist() == best.tolist()


def test_a_shuffled_label_is_found_and_the_true_one_suggested() -> None:
    vectors, true = clusters(600, 30, 0.15, 3)
    rng = np.random.default_rng(0)
    wrong = rng.choice(600, 30, replace=False)
    given_labels = true.copy()
    given_labels[wrong] = (true[wrong] + rng.integers(1, 30, 30)) % 30
    found = search(vectors, given_labels, AuditConfig()).mislabelled
    assert set(found.ids_R[:30]) == set(wrong)
    np.testing.assert_array_equal(found.suggested_R[:30], true[found.ids_R[:30]])
    assert (np.diff(found.score_R) <= 0).all() and found.score_R.max() <= 1.0


def test_look_alike_labels_are_pairs_and_not_mislabelled() -> None:
    vectors, labels = clusters(400, 10, 0.15, 1)
    twin = labels.copy()
    twin[(labels == 3) & (np.arange(400) % 2 == 0)] = 10  # one cluster under two labels
    found = search(vectors, twin, AuditConfig())
    assert not len(found.mislabelled.ids_R)
    joined = {
        frozenset(pair)
        for pair in zip(twin[found.mutual_neighbours.anchor_R], twin[found.mutual_neighbours.other_R], strict=True)
    }
    assert joined == {frozenset((3, 10))}


def test_a_singleton_amid_another_label_is_suspect_and_one_alone_is_not() -> None:
    vectors, labels = clusters(200, 10, 0.3, 2)
    lonely = unit_vectors(np.random.default_rng(9), np.zeros(1, dtype=np.int32), 16, 0.0)
    labels[5] = 10  # cut out of its cluster
    found = search(np.concatenate([vectors, lonely]), np.append(labels, np.int32(11)), AuditConfig(min_label_noise=0.0))
    assert 5 in found.mislabelled.ids_R and 200 not in found.mislabelled.ids_R


def test_both_of_a_pair_of_duplicates_have_a_minimum_distance_though_only_one_found_the_other() -> None:
    vectors, labels = clusters(60, 6, 0.3, 0)
    ids, groups = np.arange(60), LabelGroups(np.arange(60), labels)
    own = select_positives(PositivesConfig(), ShardedVectors([Shard(ids, labels, vectors)]), groups, ids, 0)
    nearest = Nearest.empty(60, 3)  # of the candidates that were sampled, example 1 alone is near anything
    nearest.push(np.array([0]), np.array([0.001], dtype=np.float32), np.array([1]))
    around = neighbour_statistics(ids, nearest, nearest_positives(own, num_own(groups, 1.0)), groups, 1.0)
    found = find_suspects(around, [find_twins(ids, nearest, 0.01)], 0.01, 0.5)
    assert found.near_duplicates.anchor_R.tolist() == [0]
    assert found.min_distances.of(np.array([0]))[0] >= np.float32(0.01)
    assert found.min_distances.of(np.array([1]))[0] == np.float32(0.01)


def test_minimum_distances_are_none_where_no_anchor_has_one() -> None:
    nothing = MinDistances(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    assert (nothing.of(np.arange(3)) == -np.inf).all()
    some = MinDistances(np.array([2, 5]), np.array([0.1, 0.2], dtype=np.float32))
    np.testing.assert_allclose(some.of(np.array([5, 1, 2, 9])), [0.2, -np.inf, 0.1, -np.inf])
    np.testing.assert_array_equal(some.among(np.array([5, 9])).ids_A, [5])
    assert not len(some.among(np.empty(0, dtype=np.int64)).ids_A)
