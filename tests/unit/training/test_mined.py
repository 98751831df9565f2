import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.mined import Leaders, Neighbours
from tests.unit.training.samples import Examples

SEEDS = st.integers(0, 2**32 - 1)
NUMS_OF_TRIPLETS = st.lists(st.integers(1, 6), min_size=1, max_size=12)
"""Triplets of each label that leads."""


def leaders_of(nums: list[int], seed: int, generation: int = 1) -> tuple[Leaders, list[int]]:
    """Leaders of labels with so many triplets each, and the label of every row."""
    examples = Examples([3] * (2 * len(nums)))
    joined = [(2 * place, 2 * place + 1) for place in range(len(nums))]
    parts = [examples.mined([pair], num) for pair, num in zip(joined, nums, strict=True)]
    mined = examples.mined([])
    together = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("anchor_T", "positive_T", "negative_T", "anchor_label_T", "negative_label_T")
    }
    mined = type(mined)(generation, neighbours=mined.neighbours, **together)
    assert len(mined) == sum(nums)
    return Leaders(mined, seed), mined.anchor_label_T.tolist()


@settings(max_examples=60, deadline=None)
@given(NUMS_OF_TRIPLETS, SEEDS, st.integers(0, 9))
def test_within_an_epoch_every_label_leads_exactly_once(nums: list[int], seed: int, epoch: int) -> None:
    leaders, labels = leaders_of(nums, seed)
    start = epoch * len(leaders)
    led = [labels[leaders.row(clique)] for clique in range(start, start + len(leaders))]
    assert len(leaders) == len(nums) and sorted(led) == sorted(set(labels))


@settings(max_examples=60, deadline=None)
@given(NUMS_OF_TRIPLETS, SEEDS, st.integers(0, 9))
def test_all_triplets_of_a_label_lead_before_one_leads_again(nums: list[int], seed: int, first_epoch: int) -> None:
    leaders, labels = leaders_of(nums, seed)
    rows = [leaders.row(clique) for clique in range(first_epoch * len(nums), (first_epoch + 2 * max(nums)) * len(nums))]
    for label in set(labels):
        of_label = [row for row in rows if labels[row] == label]
        num = labels.count(label)
        for start in range(len(of_label) - num):
            assert len(set(of_label[start : start + num])) == num


@settings(max_examples=30, deadline=None)
@given(NUMS_OF_TRIPLETS, SEEDS, st.randoms(use_true_random=False))
def test_who_leads_does_not_depend_on_what_was_asked_before(
    nums: list[int], seed: int, random: np.random.Generator
) -> None:
    asked = list(range(4 * len(nums)))
    in_order = [leaders_of(nums, seed)[0].row(clique) for clique in asked]
    leaders, _ = leaders_of(nums, seed)
    random.shuffle(asked)
    assert {clique: leaders.row(clique) for clique in asked} == dict(enumerate(in_order))


def test_the_order_is_another_one_in_each_epoch_generation_and_seed() -> None:
    nums = [1] * 12
    orders = [
        tuple(leaders.row(epoch * 12 + place) for place in range(12))
        for leaders in (leaders_of(nums, 0)[0], leaders_of(nums, 1)[0], leaders_of(nums, 0, generation=2)[0])
        for epoch in range(3)
    ]
    assert len(set(orders)) == 9


def test_nobody_leads_where_nothing_was_mined() -> None:
    assert len(Leaders(Examples([2, 2]).mined([]), seed=0)) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30))
def test_the_neighbours_of_a_label_keep_their_order(rows: list[tuple[int, int]]) -> None:
    rows.sort(key=lambda row: row[0])
    labels, others = np.array(rows, dtype=np.int32).reshape(-1, 2).T
    neighbours = Neighbours(labels, others)
    for label in range(8):
        assert neighbours.of(label).tolist() == [other for row, other in rows if row == label]
