from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PositivesConfig
from pipeline.mining.positives import Pairs, select_positives
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from tests.support.oracle import all_distances, unit_vectors


def select(
    config: PositivesConfig, num: int, num_labels: int, seed: int, block: int, choice_seed: int = 0
) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """The positives of a random corpus, chosen in blocks of anchors; and its labels and vectors."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, num).astype(np.int32)
    vectors = unit_vectors(rng, labels, 8, 1.0)
    ids = np.arange(num, dtype=np.int64)
    cuts = (slice(num // 3), slice(num // 3, None))
    shards = [Shard(ids[rows], labels[rows], vectors[rows]) for rows in cuts]
    groups = LabelGroups(ids, labels)
    parts = [
        select_positives(config, ShardedVectors(shards), groups, groups.anchors_A[start : start + block], choice_seed)
        for start in range(0, len(groups.anchors_A), block)
    ]
    if not parts:
        return Pairs(ids[:0], ids[:0], np.empty(0)), labels, vectors
    merged = Pairs(*(np.concatenate(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True)))
    return merged, labels, vectors


@settings(max_examples=40)
@given(st.integers(2, 60), st.integers(1, 12), st.integers(0, 2**32), st.integers(1, 70))
def test_all_means_every_ordered_pair_of_a_label(num: int, num_labels: int, seed: int, block: int) -> None:
    pairs, labels, vectors = select(PositivesConfig(max_per_anchor=None), num, num_labels, seed, block)
    expected = {(a, p) for a in range(num) for p in range(num) if a != p and labels[a] == labels[p]}
    assert list(zip(pairs.anchor_P.tolist(), pairs.positive_P.tolist(), strict=True)) == sorted(expected)
    exact = all_distances(vectors)
    np.testing.assert_allclose(pairs.d_ap_P, exact[pairs.anchor_P, pairs.positive_P], atol=1e-12)


@pytest.mark.parametrize(("policy", "best"), [("hardest", np.argmax), ("easiest", np.argmin)])
def test_hardest_is_argmax_and_easiest_is_argmin(policy: str, best: Callable[[np.ndarray], int]) -> None:
    config = PositivesConfig.model_validate({"policy": policy})
    pairs, labels, vectors = select(config, 200, 20, 3, 37)
    exact = all_distances(vectors)
    assert len(pairs) == len(np.unique(pairs.anchor_P))
    for anchor, positive in zip(pairs.anchor_P, pairs.positive_P, strict=True):
        others = np.flatnonzero((labels == labels[anchor]) & (np.arange(200) != anchor))
        assert positive == others[best(exact[anchor, others])]


@pytest.mark.parametrize(("policy", "limit"), [("all", "max_per_anchor"), ("random", "num_per_anchor")])
def test_a_cap_keeps_the_same_seeded_choice_whatever_the_blocks(policy: str, limit: str) -> None:
    config = PositivesConfig.model_validate({"policy": policy, limit: 3})
    whole, _, _ = select(config, 300, 10, 5, 300)
    cut, _, _ = select(config, 300, 10, 5, 7)
    other_seed, _, _ = select(config, 300, 10, 5, 300, choice_seed=99)
    assert np.bincount(whole.anchor_P).max() == 3
    np.testing.assert_array_equal(whole.positive_P, cut.positive_P)
    assert (whole.positive_P != other_seed.positive_P).any()


def test_a_label_with_many_examples_is_capped_without_listing_all_its_pairs() -> None:
    labels = np.zeros(3000, dtype=np.int32)
    vectors = unit_vectors(np.random.default_rng(0), labels, 4, 1.0)
    ids = np.arange(3000, dtype=np.int64)
    groups = LabelGroups(ids, labels)
    config = PositivesConfig(max_per_anchor=5)
    pairs = select_positives(config, ShardedVectors([Shard(ids, labels, vectors)]), groups, ids, seed=1)
    assert len(pairs) == 5 * 3000
    counts = np.bincount(pairs.positive_P, minlength=3000)
    assert counts.max() < 30, "chosen evenly, not the first ones of the label"


def test_an_unknown_id_is_an_error_not_another_vector() -> None:
    ids = np.array([2, 4, 9], dtype=np.int64)
    vectors = ShardedVectors([Shard(ids, np.zeros(3, np.int32), np.eye(3, dtype=np.float32))])
    for unknown in (0, 3, 10):
        with pytest.raises(KeyError):
            vectors.take(np.array([unknown], dtype=np.int64))
