from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.triplet_shard import CliqueSeeds, Neighbours
from tests.unit.training.samples import Examples

SEEDS = st.integers(0, 2**32 - 1)
NUMS_OF_TRIPLETS = st.lists(st.integers(1, 6), min_size=1, max_size=12)
"""Triplets of each label that seeds cliques."""


def clique_seeds(nums: list[int], seed: int, generation: int = 1) -> tuple[CliqueSeeds, list[int]]:
    """Seeds from labels with so many triplets each, and the label of every row."""
    examples = Examples([3] * (2 * len(nums)))
    joined = [(2 * place, 2 * place + 1) for place in range(len(nums))]
    parts = [examples.mined([pair], num) for pair, num in zip(joined, nums, strict=True)]
    together: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("anchor_T", "positive_T", "negative_T", "anchor_label_T", "negative_label_T")
    }
    mined = replace(parts[0], generation=generation, **together)
    assert len(mined) == sum(nums)
    return CliqueSeeds(mined, seed), mined.anchor_label_T.tolist()


@settings(max_examples=60)
@given(NUMS_OF_TRIPLETS, SEEDS, st.integers(0, 9))
def test_within_an_epoch_every_label_seeds_exactly_one_clique(nums: list[int], seed: int, epoch: int) -> None:
    seeds, labels = clique_seeds(nums, seed)
    start = epoch * len(seeds)
    seeding = [labels[seeds.row(clique)] for clique in range(start, start + len(seeds))]
    assert len(seeds) == len(nums) and sorted(seeding) == sorted(set(labels))


@settings(max_examples=60)
@given(NUMS_OF_TRIPLETS, SEEDS, st.integers(0, 9))
def test_all_triplets_of_a_label_seed_a_clique_before_one_seeds_another(
    nums: list[int], seed: int, first_epoch: int
) -> None:
    seeds, labels = clique_seeds(nums, seed)
    rows = [seeds.row(clique) for clique in range(first_epoch * len(nums), (first_epoch + 2 * max(nums)) * len(nums))]
    for label in set(labels):
        of_label = [row for row in rows if labels[row] == label]
        num = labels.count(label)
        for start in range(len(of_label) - num):
            assert len(set(of_label[start : start + num])) == num


@settings(max_examples=30)
@given(NUMS_OF_TRIPLETS, SEEDS, st.randoms(use_true_random=False))
def test_a_seed_does_not_depend_on_what_was_asked_before(
    nums: list[int], seed: int, random: np.random.Generator
) -> None:
    asked = list(range(4 * len(nums)))
    in_order = [clique_seeds(nums, seed)[0].row(clique) for clique in asked]
    seeds, _ = clique_seeds(nums, seed)
    random.shuffle(asked)
    assert {clique: seeds.row(clique) for clique in asked} == dict(enumerate(in_order))


def test_the_order_is_another_one_in_each_epoch_generation_and_seed() -> None:
    nums = [1] * 12
    orders = [
        tuple(seeds.row(epoch * 12 + place) for place in range(12))
        for seeds in (clique_seeds(nums, 0)[0], clique_seeds(nums, 1)[0], clique_seeds(nums, 0, generation=2)[0])
        for epoch in range(3)
    ]
    assert len(set(orders)) == 9


def test_no_label_seeds_a_clique_where_nothing_was_mined() -> None:
    assert len(CliqueSeeds(Examples([2, 2]).mined([]), seed=0)) == 0


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30))
def test_the_neighbours_of_a_label_keep_their_order(rows: list[tuple[int, int]]) -> None:
    rows.sort(key=lambda row: row[0])
    labels, others = np.array(rows, dtype=np.int32).reshape(-1, 2).T
    neighbours = Neighbours(labels, others)
    for label in range(8):
        assert neighbours.of(label).tolist() == [other for row, other in rows if row == label]
