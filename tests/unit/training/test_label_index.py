import tracemalloc
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare  # type: ignore[import-untyped]

from pipeline.errors import InputError
from pipeline.training.label_index import LabelIndex, random_order
from tests.unit.training.samples import Examples

SEEDS = st.integers(0, 2**32)


def full_shuffle(rng: np.random.Generator, labels: list[int]) -> list[int]:
    """Fisher and Yates as the textbooks have it: in place, over the whole list."""
    for place in range(len(labels)):
        other = int(rng.integers(place, len(labels)))
        labels[place], labels[other] = labels[other], labels[place]
    return labels


@settings(max_examples=60)
@given(st.sets(st.integers(0, 1000), min_size=1, max_size=60), SEEDS)
def test_the_lazy_order_of_labels_is_that_of_a_full_shuffle(labels: set[int], seed: int) -> None:
    codes = sorted(labels)
    lazy = list(random_order(np.random.default_rng(seed), np.array(codes, dtype=np.int32)))
    assert lazy == full_shuffle(np.random.default_rng(seed), list(codes))
    assert sorted(lazy) == codes


def test_every_order_of_labels_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([2, 3, 5, 7], dtype=np.int32)
    counts = Counter(tuple(random_order(rng, labels)) for _ in range(4800))
    assert set(counts) == set(permutations(labels.tolist()))
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_the_first_labels_of_an_order_are_found_without_shuffling_all() -> None:
    order = random_order(np.random.default_rng(0), np.arange(10_000_000, dtype=np.int32))
    tracemalloc.start()
    first = {next(order) for _ in range(100)}
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(first) == 100 and peak_bytes < 100_000


@settings(max_examples=80)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=9), st.data(), st.integers(0, 9), SEEDS)
def test_a_draw_keeps_what_comes_first_and_adds_others_of_the_label_each_once(
    sizes: list[int], data: st.DataObject, number: int, seed: int
) -> None:
    examples = Examples([*sizes, 2])
    label = data.draw(st.integers(0, len(sizes)))
    members = examples.of(label).tolist()
    first = data.draw(st.permutations(members))[: data.draw(st.integers(0, len(members)))]
    drawn = examples.index.draw(np.random.default_rng(seed), label, number, np.array(first, dtype=np.int64)).tolist()
    assert len(drawn) == len(set(drawn)) == min(number, len(members))
    assert drawn[: len(first)] == first[:number]
    assert set(drawn) <= set(members)


def test_a_draw_favours_no_example() -> None:
    examples, rng = Examples([3, 6]), np.random.default_rng(0)
    first = examples.of(1)[2:3]
    counts = Counter(int(drawn) for _ in range(2000) for drawn in examples.index.draw(rng, 1, 3, first)[1:])
    assert set(counts) == set(examples.of(1).tolist()) - {int(first[0])}
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_only_labels_that_can_form_a_pair_are_drawn_at_random() -> None:
    index = Examples([1, 2, 1, 5, 1]).index
    assert index.labels_L.tolist() == [1, 3]
    assert index.draw(np.random.default_rng(0), 2, 4).tolist() == [9]


def test_what_was_left_out_of_an_index_is_never_drawn_though_it_be_asked_for_first() -> None:
    examples, rng = Examples([4, 3, 1, 2]), np.random.default_rng(0)
    left_out = np.concatenate([examples.of(0)[:1], examples.of(1)[:2], examples.of(3)])
    index = examples.index.without(left_out)
    assert index.labels_L.tolist() == [0]
    for label in range(4):
        kept = set(examples.of(label).tolist()) - set(left_out.tolist())
        for _ in range(9):
            assert set(index.draw(rng, label, 9).tolist()) == kept
            assert set(index.draw(rng, label, 9, examples.of(label)[:2]).tolist()) == kept
    assert index.without(np.empty(0, dtype=np.int64)) is index
    with pytest.raises(InputError, match="a triplet needs two labels"):
        index.without(examples.of(0))


@pytest.mark.parametrize("label", [-1, 1, 5])
def test_a_label_that_is_not_there_has_no_examples(label: int) -> None:
    index = LabelIndex(np.arange(6), np.array([0, 0, 2, 2, 4, 4], dtype=np.int32))
    assert len(index.draw(np.random.default_rng(0), label, 3, np.array([1]))) == 0


def test_a_pool_sorts_what_it_is_given() -> None:
    index = LabelIndex(np.array([9, 4, 7, 1]), np.array([1, 0, 1, 0], dtype=np.int32))
    assert index.ids_N.tolist() == [1, 4, 7, 9] and index.labels_N.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("labels", [[4, 4, 4], [1, 2, 3], []])
def test_examples_that_cannot_form_a_triplet_are_refused_before_the_first_step(labels: list[int]) -> None:
    with pytest.raises(InputError, match="a triplet needs two labels"):
        LabelIndex(np.arange(len(labels)), np.array(labels, dtype=np.int32))
