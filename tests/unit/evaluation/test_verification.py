import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_curve

from pipeline.errors import InputError
from pipeline.evaluation import verification
from pipeline.evaluation.verification import FloatArray, Verification, verify
from tests.unit.evaluation.samples import brute_force_distances, unit_vectors

ALL = 10**9
# Few distinct values, so that ties within and between the kinds are the rule.
DISTANCES = st.lists(st.integers(0, 12), min_size=1, max_size=40).map(
    lambda values: np.sort(np.array(values, dtype=np.float32) / np.float32(3))
)


def oracle_val_at_far(same: list[float], different: list[float], far: float) -> float:
    """The best VAL of all thresholds worth trying whose FAR is at most ``far``; VAL never falls with d."""
    best = 0.0
    for threshold in (*same, *different):
        if sum(d <= threshold for d in different) / len(different) <= far:
            best = max(best, sum(d <= threshold for d in same) / len(same))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_a_float64_brute_force_over_all_pairs(seed: int) -> None:
    embeddings, labels = unit_vectors(60, 7, noise=0.5, seed=seed)
    measured = verify(embeddings, labels, ALL, seed=0)
    same, different = brute_force_distances(embeddings, labels)
    np.testing.assert_allclose(measured.same, same, rtol=2e-6, atol=1e-12)
    np.testing.assert_allclose(measured.different, different, rtol=2e-6, atol=1e-12)


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = unit_vectors(60, 7, noise=0.5, seed=0)
    whole = verify(embeddings, labels, ALL, seed=0)
    monkeypatch.setattr(verification, "PAIRS_PER_TILE", 37)
    tiled = verify(embeddings, labels, ALL, seed=0)
    np.testing.assert_array_equal(whole.same, tiled.same)
    np.testing.assert_array_equal(whole.different, tiled.different)


def test_nearly_equal_embeddings_keep_the_digits_of_their_distance() -> None:
    embeddings = np.array([[1.0, 0.0], [1.0, 1e-5], [0.0, 1.0]], dtype=np.float32)
    assert verify(embeddings, [0, 0, 1], ALL, seed=0).same[0] == pytest.approx(1e-10, rel=1e-5)


@given(DISTANCES, DISTANCES, st.floats(0.0, 4.5, width=32))
def test_val_and_far_are_the_shares_of_pairs_up_to_the_threshold(
    same: FloatArray,
    different: FloatArray,
    threshold: float,
) -> None:
    measured = Verification(same, different)
    assert measured.val(threshold) == sum(d <= threshold for d in same.tolist()) / len(same)
    assert measured.far(threshold) == sum(d <= threshold for d in different.tolist()) / len(different)


@given(DISTANCES, DISTANCES, st.one_of(st.floats(0.0, 1.0), st.fractions(0, 1, max_denominator=40).map(float)))
def test_val_at_far_takes_the_largest_threshold_that_the_rate_allows(
    same: FloatArray,
    different: FloatArray,
    far: float,
) -> None:
    measured = Verification(same, different)
    point = measured.at_far(far)
    assert point.val == oracle_val_at_far(same.tolist(), different.tolist(), far)
    assert (point.val, point.actual_far) == (measured.val(point.threshold), measured.far(point.threshold))
    assert point.actual_far <= far
    if np.isfinite(point.threshold):
        larger = float(np.nextafter(np.float32(point.threshold), np.float32(np.inf)))
        assert measured.far(larger) > far


def test_a_rate_that_a_product_would_round_down_is_met_exactly() -> None:
    measured = Verification(same=np.array([28.5], np.float32), different=np.arange(100, dtype=np.float32))
    assert int(0.29 * 100) == 28  # although 29 of 100 accepted pairs are a FAR of 0.29
    assert measured.at_far(0.29).actual_far == 0.29
    assert measured.at_far(0.29).val == 1.0


@given(DISTANCES, DISTANCES)
def test_roc_auc_is_the_chance_that_a_same_pair_is_nearer_with_ties_counting_half(
    same: FloatArray, different: FloatArray
) -> None:
    nearer = [(s < d) + 0.5 * (s == d) for s in same.tolist() for d in different.tolist()]
    assert Verification(same, different).roc_auc() == pytest.approx(sum(nearer) / len(nearer), abs=1e-12)


def test_the_curve_is_scikit_learns() -> None:
    measured = verify(*unit_vectors(80, 6, noise=0.7, seed=1), ALL, seed=0)
    is_same = np.repeat([1, 0], [len(measured.same), len(measured.different)])
    far, val, _ = roc_curve(is_same, -np.concatenate([measured.same, measured.different]), drop_intermediate=False)
    fars, vals = measured.roc_curve(50)
    expected = [val[far <= asked].max() for asked in fars]
    np.testing.assert_allclose(vals, expected)
    assert (np.diff(vals) >= 0).all()
    assert vals[-1] == 1.0
    assert measured.roc_auc() == pytest.approx(auc(far, val), abs=1e-12)


def test_below_the_limit_the_seed_does_not_matter() -> None:
    embeddings, labels = unit_vectors(50, 5, noise=0.5, seed=2)
    first, second = (verify(embeddings, labels, 50 * 49, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.same, second.same)
    np.testing.assert_array_equal(first.different, second.different)


def test_the_order_of_the_examples_does_not_matter() -> None:
    embeddings, labels = unit_vectors(50, 5, noise=0.5, seed=2)
    shuffled = np.random.default_rng(0).permutation(50)
    first = verify(embeddings, labels, ALL, seed=0)
    second = verify(embeddings[shuffled], labels[shuffled], ALL, seed=0)
    np.testing.assert_array_equal(first.same, second.same)
    np.testing.assert_array_equal(first.different, second.different)


def test_above_the_limit_distinct_pairs_are_drawn_by_seed() -> None:
    embeddings, labels = unit_vectors(120, 6, noise=0.5, seed=3)
    whole = verify(embeddings, labels, ALL, seed=0)
    samples = [verify(embeddings, labels, 1000, seed=seed) for seed in (1, 1, 2)]
    for kind in ("same", "different"):
        everything = getattr(whole, kind)
        first, again, other = (getattr(sample, kind) for sample in samples)
        assert len(first) == 1000
        assert Counter(first.tolist()) <= Counter(everything.tolist())
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_a_sample_holds_distinct_numbers_in_range(total: int, at_most: int, seed: int) -> None:
    sample = verification._sample(total, at_most, np.random.default_rng(seed))
    assert len(sample) == len(set(sample.tolist())) == min(total, at_most)
    assert set(sample.tolist()) <= set(range(total))


def test_every_pair_has_the_same_chance_of_being_drawn() -> None:
    total, at_most, num_draws = 25, 10, 20_000  # runs of 2 and of 3: without the shift, chances of 1/2 and 1/3
    rng = np.random.default_rng(0)
    counts = np.zeros(total)
    for _ in range(num_draws):
        counts[verification._sample(total, at_most, rng)] += 1
    np.testing.assert_allclose(counts / num_draws, at_most / total, atol=0.02)


def test_memory_does_not_grow_with_the_square_of_the_examples() -> None:
    embeddings, labels = unit_vectors(10_000, 500, noise=1.0, seed=0, dim=16)
    tracemalloc.start()
    verify(embeddings, labels, 100_000, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6  # the 50 M pairs alone would take 400 MB a column


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([4, 4, 4], "needs two labels or more, but the 3 .* have 1"),
        ([0, 1, 2], "needs two examples of one label"),
        ([], "have 0"),
    ],
)
def test_labels_without_both_kinds_of_pairs_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        verify(np.eye(len(labels), 3, dtype=np.float32), labels, ALL, seed=0)


def test_broken_embeddings_are_counted_and_refused() -> None:
    embeddings, labels = unit_vectors(20, 3, noise=0.5, seed=0)
    embeddings[3, 1], embeddings[7, 0] = np.nan, np.inf
    with pytest.raises(InputError, match="2 of 20 embeddings hold NaN or infinity"):
        verify(embeddings, labels, ALL, seed=0)


def test_labels_of_another_length_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match=r"\(3, 3\) and labels \(2,\)"):
        verify(np.eye(3, dtype=np.float32), [0, 1], ALL, seed=0)
