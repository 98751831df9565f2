import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.verification import pairs
from pipeline.evaluation.verification.pairs import PairRuns, pair_distances, sample_numbers
from tests.unit.evaluation.samples import unit_vectors

ALL = 10**9
LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=12).map(sorted)


@given(LABELS)
def test_every_pair_is_numbered_once(labels: list[int]) -> None:
    rows = range(len(labels))
    for both_orders, candidates in ((False, itertools.combinations), (True, itertools.permutations)):
        kinds = PairRuns.of_sorted(np.array(labels), both_orders)
        for runs, is_same in zip(kinds, (True, False), strict=True):
            i, j = runs.sample(ALL, np.random.default_rng(0))
            expected = {(a, b) for a, b in candidates(rows, 2) if (labels[a] == labels[b]) is is_same}
            assert len(i) == len(expected)
            assert set(zip(i.tolist(), j.tolist(), strict=True)) == expected


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_a_sample_holds_distinct_numbers_in_range(total: int, at_most: int, seed: int) -> None:
    drawn = sample_numbers(total, at_most, np.random.default_rng(seed))
    assert len(drawn) == len(set(drawn.tolist())) == min(total, at_most)
    assert set(drawn.tolist()) <= set(range(total))


def test_every_number_has_the_same_chance_of_being_drawn() -> None:
    total, at_most, num_draws = 25, 10, 20_000  # runs of 2 and of 3: without the shift, chances of 1/2 and 1/3
    rng = np.random.default_rng(0)
    counts = np.zeros(total)
    for _ in range(num_draws):
        counts[sample_numbers(total, at_most, rng)] += 1
    np.testing.assert_allclose(counts / num_draws, at_most / total, atol=0.02)


def test_samples_of_the_pairs_of_ten_million_examples_stay_in_range() -> None:
    total, at_most = 10_000_000 * 9_999_999, 200_000  # k·total for the last of the runs is beyond int64
    drawn = sample_numbers(total, at_most, np.random.default_rng(0))
    assert len(np.unique(drawn)) == at_most
    assert drawn.min() >= 0
    assert drawn.max() < total
    np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.5, 0.75]) / total, [0.25, 0.5, 0.75], atol=1e-3)


def test_distances_are_those_of_the_pairs_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    embeddings, others = unit_vectors(30, 3, noise=0.5, seed=0)[0], unit_vectors(30, 3, noise=0.5, seed=1)[0]
    i, j = rng.integers(30, size=(2, 100))
    expected = ((embeddings[i].astype(np.float64) - others[j]) ** 2).sum(axis=1)
    whole = pair_distances(embeddings, others, i, j)
    np.testing.assert_allclose(whole, expected, rtol=2e-6)
    monkeypatch.setattr(pairs, "PAIRS_PER_TILE", 7)
    np.testing.assert_array_equal(pair_distances(embeddings, others, i, j), whole)
