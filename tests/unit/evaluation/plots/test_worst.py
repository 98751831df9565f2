import itertools
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.evaluation.plots import worst
from pipeline.evaluation.plots.worst import Pair, SearchLimits, find_worst_pairs
from tests.unit.evaluation.samples import unit_vectors

FloatArray = npt.NDArray[np.float32]


def brute_force(
    vectors: FloatArray, labels: npt.NDArray[np.int64], number: int, max_per_label: int, same_label: bool
) -> list[tuple[int, int]]:
    """All pairs in order, each taken unless an example of it, or a label too often, has been taken."""
    exact = vectors.astype(np.float64)
    pairs = list(itertools.combinations(range(len(labels)), 2))
    pairs = [(i, j) for i, j in pairs if (labels[i] == labels[j]) == same_label]
    sign = -1 if same_label else 1
    pairs.sort(key=lambda pair: (sign * round(float(((exact[pair[0]] - exact[pair[1]]) ** 2).sum()), 12), pair))
    taken: list[tuple[int, int]] = []
    used: set[int] = set()
    count: Counter[int] = Counter()
    for i, j in pairs:
        of_pair = {int(labels[i]), int(labels[j])}
        if len(taken) < number and not used & {i, j} and all(count[label] < max_per_label for label in of_pair):
            taken.append((i, j))
            used |= {i, j}
            count.update(of_pair)
    return taken


def rows(pairs: tuple[Pair, ...]) -> list[tuple[int, int]]:
    return [(pair.first, pair.second) for pair in pairs]


@given(st.data(), st.integers(0, 24), st.integers(1, 12), st.integers(1, 4))
def test_the_pairs_are_those_of_brute_force_ties_included(
    data: st.DataObject, num_examples: int, number: int, max_per_label: int
) -> None:
    # Few values and few labels: many ties, and examples that all others are near to.
    coordinates = data.draw(arrays(np.int8, (num_examples, 2), elements=st.integers(-2, 2)))
    labels = data.draw(arrays(np.int64, num_examples, elements=st.integers(0, 4)))
    vectors = coordinates.astype(np.float32)
    found = find_worst_pairs(vectors, labels, np.arange(num_examples), SearchLimits(number, max_per_label), seed=0)
    assert rows(found.false_accepts) == brute_force(vectors, labels, number, max_per_label, same_label=False)
    assert rows(found.false_rejects) == brute_force(vectors, labels, number, max_per_label, same_label=True)


@pytest.mark.parametrize("tile_values", [1, 300, 10_000_000])
def test_tiles_and_repeated_searches_change_nothing(tile_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worst, "MAX_TILE_VALUES", tile_values)
    monkeypatch.setattr(worst, "NUM_SEARCHED_AGAIN", 3)
    vectors, labels = unit_vectors(150, 12, noise=1.0, seed=3)
    found = find_worst_pairs(vectors, labels, np.arange(150), SearchLimits(20, 4), seed=0)
    assert rows(found.false_accepts) == brute_force(vectors, labels, 20, 4, same_label=False)
    assert rows(found.false_rejects) == brute_force(vectors, labels, 20, 4, same_label=True)


def test_by_hand_on_a_line() -> None:
    # Label 7 at 0 and 5, label 8 at 1 and 7; the distances are squared.
    vectors = np.array([[0], [5], [1], [7]], dtype=np.float32)
    found = find_worst_pairs(vectors, [7, 7, 8, 8], [10, 11, 12, 13], SearchLimits(5), seed=0)
    assert found.false_accepts == (Pair(10, 12, 7, 8, 1.0), Pair(11, 13, 7, 8, 4.0))
    assert found.false_rejects == (Pair(12, 13, 8, 8, 36.0), Pair(10, 11, 7, 7, 25.0))
    assert found.num_anchors == 4


def test_no_example_comes_twice_and_no_label_too_often() -> None:
    vectors, labels = unit_vectors(400, 6, noise=0.8, seed=1)
    found = find_worst_pairs(vectors, labels, np.arange(400), SearchLimits(12, 3), seed=0)
    for pairs in (found.false_accepts, found.false_rejects):
        examples = [example for pair in pairs for example in (pair.first, pair.second)]
        assert len(examples) == len(set(examples)) > 0
        assert max(Counter(label for pair in pairs for label in {pair.first_label, pair.second_label}).values()) == 3


def test_identical_embeddings_do_not_make_the_search_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    search = worst._PairSearch._search

    def counted(self: worst._PairSearch, anchors: npt.NDArray[np.int64]) -> list[tuple[float, int, int]]:
        searched.append(len(anchors))
        return search(self, anchors)

    monkeypatch.setattr(worst._PairSearch, "_search", counted)
    vectors = np.full((3000, 4), 0.5, dtype=np.float32)
    found = find_worst_pairs(vectors, np.arange(3000) // 3, np.arange(3000), SearchLimits(10), seed=0)
    assert [pair.distance for pair in found.false_accepts + found.false_rejects] == [0.0] * 20
    assert sum(searched) < 3 * 2 * 3000


def test_of_many_examples_a_sample_is_held_to_all_others() -> None:
    vectors, labels = unit_vectors(500, 30, noise=0.5, seed=2)
    limits = SearchLimits(5, max_compared=500 * 100)
    found = find_worst_pairs(vectors, labels, np.arange(500), limits, seed=1)
    assert found.num_anchors == 100
    assert found == find_worst_pairs(vectors, labels, np.arange(500), limits, seed=1)
    assert found != find_worst_pairs(vectors, labels, np.arange(500), limits, seed=2)
    exact = find_worst_pairs(vectors, labels, np.arange(500), SearchLimits(5), seed=1)
    assert exact.num_anchors == 500
    assert found.false_accepts[0].distance >= exact.false_accepts[0].distance


@pytest.mark.parametrize(("labels", "kinds"), [([0, 0, 0], (0, 1)), ([0, 1, 2], (1, 0)), ([4], (0, 0)), ([], (0, 0))])
def test_a_kind_without_pairs_is_empty(labels: list[int], kinds: tuple[int, int]) -> None:
    vectors = np.eye(3, dtype=np.float32)[: len(labels)]
    found = find_worst_pairs(vectors, np.array(labels, dtype=np.int64), np.arange(len(labels)), SearchLimits(5), 0)
    assert (len(found.false_accepts), len(found.false_rejects)) == kinds
