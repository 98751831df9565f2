import itertools
import tracemalloc
from collections import Counter
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, balanced_accuracy_score, det_curve, roc_curve

from pipeline.arrays import Float32Array
from pipeline.errors import InputError
from pipeline.evaluation.verification.protocol import Verification, evaluate_pairs
from tests.unit.evaluation.samples import brute_force_distances, unit_vectors

ALL = 10**9
# Few distinct values, so that ties within and between the kinds are the rule.
DISTANCES = st.lists(st.integers(0, 12), min_size=1, max_size=40).map(
    lambda values: np.sort(np.array(values, dtype=np.float32) / np.float32(3))
)


# Of four same and five different pairs; the figures below are counted by hand.
WORKED = Verification(
    same=np.array([0.1, 0.2, 0.4, 0.9], np.float32), different=np.array([0.3, 0.5, 0.6, 0.7, 1.2], np.float32)
)


def oracle_val_at_far(same: list[float], different: list[float], far: float) -> float:
    """The best VAL of all thresholds worth trying whose FAR is at most ``far``; VAL never falls with d."""
    best = 0.0
    for threshold in (*same, *different):
        if sum(d <= threshold for d in different) / len(different) <= far:
            best = max(best, sum(d <= threshold for d in same) / len(same))
    return best


def assert_same(first: Verification, second: Verification) -> None:
    np.testing.assert_array_equal(first.same, second.same)
    np.testing.assert_array_equal(first.different, second.different)


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_a_float64_brute_force_over_all_pairs(seed: int) -> None:
    embeddings, labels = unit_vectors(60, 7, noise=0.5, seed=seed)
    measured = evaluate_pairs(embeddings, labels, ALL, seed=0)
    same, different = brute_force_distances(embeddings, labels)
    np.testing.assert_allclose(measured.same, same, rtol=2e-6, atol=1e-12)
    np.testing.assert_allclose(measured.different, different, rtol=2e-6, atol=1e-12)


def test_nearly_equal_embeddings_keep_the_digits_of_their_distance() -> None:
    embeddings = np.array([[1.0, 0.0], [1.0, 1e-5], [0.0, 1.0]], dtype=np.float32)
    assert evaluate_pairs(embeddings, [0, 0, 1], ALL, seed=0).same[0] == pytest.approx(1e-10, rel=1e-5)


@given(DISTANCES, DISTANCES, st.floats(0.0, 4.5, width=32))
def test_val_and_far_are_the_shares_of_pairs_up_to_the_threshold(
    same: Float32Array, different: Float32Array, threshold: float
) -> None:
    measured = Verification(same, different)
    assert measured.val(threshold) == sum(d <= threshold for d in same.tolist()) / len(same)
    assert measured.far(threshold) == sum(d <= threshold for d in different.tolist()) / len(different)


@given(DISTANCES, DISTANCES, st.one_of(st.floats(0.0, 1.0), st.fractions(0, 1, max_denominator=40).map(float)))
def test_val_at_far_takes_the_largest_threshold_that_the_rate_allows(
    same: Float32Array, different: Float32Array, far: float
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
    same: Float32Array, different: Float32Array
) -> None:
    nearer = [(s < d) + 0.5 * (s == d) for s in same.tolist() for d in different.tolist()]
    assert Verification(same, different).roc_auc() == pytest.approx(sum(nearer) / len(nearer), abs=1e-12)


def test_the_curve_is_scikit_learns() -> None:
    measured = evaluate_pairs(*unit_vectors(80, 6, noise=0.7, seed=1), ALL, seed=0)
    is_same = np.repeat([1, 0], [len(measured.same), len(measured.different)])
    far, val, _ = roc_curve(is_same, -np.concatenate([measured.same, measured.different]), drop_intermediate=False)
    fars, vals = measured.roc_curve(50)
    expected = [val[far <= asked].max() for asked in fars]
    np.testing.assert_allclose(vals, expected)
    assert (np.diff(vals) >= 0).all()
    assert vals[-1] == 1.0
    assert measured.roc_auc() == pytest.approx(auc(far, val), abs=1e-12)


@pytest.mark.parametrize(
    ("threshold", "true_accepts", "false_accepts", "val", "far", "accuracy"),
    [
        (0.05, 0, 0, 0.0, 0.0, 0.5),
        (0.25, 2, 0, 0.5, 0.0, 0.75),
        (0.45, 3, 1, 0.75, 0.2, 0.775),
        (0.95, 4, 4, 1.0, 0.8, 0.6),
        (4.0, 4, 5, 1.0, 1.0, 0.5),
    ],
)
def test_a_worked_example_of_one_threshold(
    threshold: float, true_accepts: int, false_accepts: int, val: float, far: float, accuracy: float
) -> None:
    assert (WORKED.true_accepts(threshold), WORKED.false_accepts(threshold)) == (true_accepts, false_accepts)
    assert (WORKED.val(threshold), WORKED.far(threshold)) == (val, far)
    assert WORKED.accuracy(threshold) == pytest.approx(accuracy)


def test_a_worked_example_of_val_at_far() -> None:
    one_in_five = WORKED.at_far(0.2)  # one different pair may pass, at 0.3, but not the second, at 0.5
    assert one_in_five.threshold == np.nextafter(np.float32(0.5), np.float32(0))
    assert (one_in_five.val, one_in_five.actual_far) == (0.75, 0.2)
    finer = WORKED.at_far(0.19)  # none may pass
    assert (finer.val, finer.actual_far) == (0.5, 0.0)
    assert WORKED.resolves(0.2) and not WORKED.resolves(0.19)


def test_a_worked_example_of_the_best_threshold() -> None:
    assert WORKED.best_threshold() == pytest.approx(0.45)  # between 0.4 and 0.5: 3 of 4 and 4 of 5 are right
    assert WORKED.accuracy(WORKED.best_threshold()) == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_a_worked_example_of_the_equal_error_rate() -> None:
    # From (FAR, VAL) = (0.2, 0.75) to (0.4, 0.75), where 0.5 is accepted; the line FAR = 1 - VAL is met at 0.25.
    assert WORKED.eer().rate == pytest.approx(0.25)
    assert WORKED.eer().threshold == np.float32(0.5)


@given(DISTANCES, DISTANCES)
def test_no_threshold_is_more_accurate_than_the_best_and_none_smaller_as_accurate(
    same: Float32Array, different: Float32Array
) -> None:
    def accuracy(threshold: float) -> Fraction:
        vals, fars = [d <= threshold for d in same.tolist()], [d <= threshold for d in different.tolist()]
        return Fraction(sum(vals), len(vals)) - Fraction(sum(fars), len(fars))

    measured = Verification(same, different)
    distances = sorted({*same.tolist(), *different.tolist()})
    middles = [-1.0, *((low + high) / 2 for low, high in itertools.pairwise(distances)), 99.0]
    threshold = measured.best_threshold()
    first_best = max(middles, key=accuracy)  # of equals, max takes the first
    assert measured.true_accepts(threshold) == measured.true_accepts(first_best)
    assert measured.false_accepts(threshold) == measured.false_accepts(first_best)
    if first_best != middles[0]:
        assert threshold == pytest.approx(first_best, rel=1e-6)
    assert measured.accuracy(threshold) == pytest.approx(float((1 + accuracy(first_best)) / 2))


def test_neighbouring_floats_are_parted() -> None:
    near = np.float32(0.3)
    measured = Verification(np.array([near]), np.array([np.nextafter(near, np.float32(1))]))
    assert measured.accuracy(measured.best_threshold()) == 1.0


@given(DISTANCES, DISTANCES)
def test_the_equal_error_rate_lies_on_the_roc_where_both_errors_are_equal(
    same: Float32Array, different: Float32Array
) -> None:
    measured = Verification(same, different)
    points = [(Fraction(0), Fraction(1), 0.0)]
    for d in sorted({*same.tolist(), *different.tolist()}):
        rejected, accepted = sum(x > d for x in same.tolist()), sum(x <= d for x in different.tolist())
        points.append((Fraction(accepted, len(different)), Fraction(rejected, len(same)), d))
    (far, frr, _), (next_far, next_frr, threshold) = next(
        step for step in itertools.pairwise(points) if step[1][0] >= step[1][1]
    )
    share = (frr - far) / ((frr - far) + (next_far - next_frr))
    found = measured.eer()
    assert found.rate == pytest.approx(float(far + share * (next_far - far)), abs=1e-12)
    assert found.threshold == threshold


def test_accuracy_and_equal_error_rate_are_scikit_learns() -> None:
    measured = evaluate_pairs(*unit_vectors(40, 4, noise=0.7, seed=1), ALL, seed=0)
    is_same = np.repeat([1, 0], [len(measured.same), len(measured.different)])
    distances = np.concatenate([measured.same, measured.different])
    far, frr, thresholds = det_curve(is_same, -distances)
    nearest = np.abs(far - frr).argmin()  # scikit-learn has no rates between two pairs
    assert measured.eer().rate == pytest.approx((far + frr)[nearest] / 2, abs=1 / len(measured.same))
    best = measured.best_threshold()
    assert measured.accuracy(best) == pytest.approx(balanced_accuracy_score(is_same, distances <= best))
    assert measured.accuracy(best) == pytest.approx(
        max(balanced_accuracy_score(is_same, -distances >= threshold) for threshold in thresholds)
    )


def test_a_threshold_between_two_floats_accepts_the_lower_alone() -> None:
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    measured = Verification(np.array([low, high]), np.array([np.float32(2)]))
    assert measured.true_accepts(float(low) + 0.9 * (float(high) - float(low))) == 1


@pytest.mark.parametrize("seed", range(3))
def test_embeddings_of_two_networks_are_compared_in_both_orders(seed: int) -> None:
    embeddings, labels = unit_vectors(40, 5, noise=0.5, seed=seed)
    others = unit_vectors(40, 5, noise=0.5, seed=seed + 10)[0]
    measured = evaluate_pairs(embeddings, labels, ALL, seed=0, others_ND=others)
    expected: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.permutations(range(40), 2):
        distance = ((embeddings[i].astype(np.float64) - others[j].astype(np.float64)) ** 2).sum()
        expected[bool(labels[i] == labels[j])].append(float(distance))
    np.testing.assert_allclose(measured.same, sorted(expected[True]), rtol=2e-6, atol=1e-12)
    np.testing.assert_allclose(measured.different, sorted(expected[False]), rtol=2e-6, atol=1e-12)


def test_a_network_compared_with_itself_gives_each_pair_twice() -> None:
    embeddings, labels = unit_vectors(50, 5, noise=0.5, seed=2)
    alone = evaluate_pairs(embeddings, labels, ALL, seed=0)
    twice = evaluate_pairs(embeddings, labels, ALL, seed=0, others_ND=embeddings)
    assert_same(Verification(np.repeat(alone.same, 2), np.repeat(alone.different, 2)), twice)


def test_neither_the_order_of_networks_or_examples_nor_below_the_limit_the_seed_matters() -> None:
    embeddings, labels = unit_vectors(50, 5, noise=0.5, seed=2)
    others = unit_vectors(50, 5, noise=0.5, seed=3)[0]
    assert_same(evaluate_pairs(embeddings, labels, ALL, 0, others), evaluate_pairs(others, labels, ALL, 0, embeddings))
    first, other_seed = (evaluate_pairs(embeddings, labels, 50 * 49, seed) for seed in (0, 1))
    assert_same(first, other_seed)
    shuffled = np.random.default_rng(0).permutation(50)
    assert_same(first, evaluate_pairs(embeddings[shuffled], labels[shuffled], ALL, seed=0))


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        (np.eye(3, 5), InputError, "embeddings of 3 numbers cannot be compared with embeddings of 5"),
        (np.full((3, 3), np.nan), InputError, "3 of 3 embeddings hold NaN"),
        (np.eye(4, 3), ValueError, "not of the same examples"),
    ],
    ids=["another size", "broken", "other examples"],
)
def test_embeddings_of_another_network_that_cannot_be_compared_are_refused(
    others: npt.NDArray[np.float64], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate_pairs(np.eye(3, dtype=np.float32), [0, 0, 1], ALL, 0, others.astype(np.float32))


def test_above_the_limit_distinct_pairs_are_drawn_by_seed() -> None:
    embeddings, labels = unit_vectors(120, 6, noise=0.5, seed=3)
    whole = evaluate_pairs(embeddings, labels, ALL, seed=0)
    samples = [evaluate_pairs(embeddings, labels, 1000, seed=seed) for seed in (1, 1, 2)]
    for kind in ("same", "different"):
        everything = getattr(whole, kind)
        first, again, other = (getattr(sample, kind) for sample in samples)
        assert len(first) == 1000
        assert Counter(first.tolist()) <= Counter(everything.tolist())
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_memory_does_not_grow_with_the_square_of_the_examples() -> None:
    embeddings, labels = unit_vectors(10_000, 500, noise=1.0, seed=0, dim=16)
    tracemalloc.start()
    evaluate_pairs(embeddings, labels, 100_000, seed=0)
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
        evaluate_pairs(np.eye(len(labels), 3, dtype=np.float32), labels, ALL, seed=0)
