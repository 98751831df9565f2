import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.studies.compare.results import ArmResult
from pipeline.studies.compare.statistics import (
    Difference,
    Position,
    Reach,
    compare_pairs,
    estimate,
    first_reach,
    images_of,
    reach_baseline,
    seconds_of,
)
from tests.unit.studies.compare.samples import curve, result

BASELINE = {0: 0.70, 1: 0.80, 2: 0.90}
VALUE = st.floats(0.0, 1.0)
VALUES = st.lists(VALUE, min_size=1, max_size=12)


def compared(arm: dict[int, float], baseline: dict[int, float]) -> Difference:
    difference = compare_pairs(arm, baseline)
    assert difference is not None
    return difference


def reached(arm: dict[int, ArmResult], baseline: dict[int, ArmResult], position: Position = images_of) -> Reach:
    reach = reach_baseline(arm, baseline, "recall_at_1", position)
    assert reach is not None
    return reach


def test_the_interval_is_students_with_one_degree_of_freedom_less_than_seeds() -> None:
    # By hand: mean 3, squares 4 + 1 + 0 + 1 + 4 over 4 degrees, so s = 1.58114; t(4, 97.5 %) = 2.77645 from a table.
    measured = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (measured.mean, measured.num) == (3.0, 5)
    assert measured.half_width == pytest.approx(2.77645 * math.sqrt(2.5) / math.sqrt(5), rel=1e-5)
    assert measured.interval == pytest.approx((1.03676, 4.96324), abs=1e-5)


@pytest.mark.parametrize(("num", "quantile"), [(2, 12.7062), (3, 4.30265), (4, 3.18245), (10, 2.26216), (31, 2.04227)])
def test_the_quantiles_are_those_of_the_printed_table(num: int, quantile: float) -> None:
    values = [float(i % 2) for i in range(num)]
    mean = sum(values) / num
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (num - 1))
    assert estimate(values).half_width == pytest.approx(quantile * spread / math.sqrt(num), rel=1e-5)


def test_one_seed_has_no_interval() -> None:
    measured = estimate([0.5])
    assert (measured.mean, measured.half_width, measured.interval, measured.num) == (0.5, None, None, 1)


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_the_values_changes_no_bit(values: list[float], shuffler: random.Random) -> None:
    shuffled = shuffler.sample(values, len(values))
    assert estimate(shuffled) == estimate(values)


def test_no_value_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no value"):
        estimate([])


def test_a_paired_difference_has_the_interval_of_the_differences() -> None:
    difference = compared({0: 0.71, 1: 0.82, 2: 0.91}, BASELINE)
    # By hand: 0.01, 0.02, 0.01 has mean 0.013333 and s 0.0057735; t(2, 97.5 %) = 4.30265.
    assert difference.paired.mean == pytest.approx(0.013333, abs=1e-6)
    assert difference.paired.half_width == pytest.approx(4.30265 * 0.0057735 / math.sqrt(3), rel=1e-4)
    assert difference.verdict == "undecided"  # 0.0133 ± 0.0143


def test_a_small_gain_in_every_seed_is_decided_although_the_seeds_differ_by_more() -> None:
    difference = compared({0: 0.711, 1: 0.810, 2: 0.910}, BASELINE)
    assert (difference.verdict, difference.disjoint) == ("better", False)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.10, 0.11, 0.12), "better"),
        ((-0.10, -0.11, -0.12), "worse"),
        ((0.10, -0.10, 0.05), "undecided"),
        ((0.0, 0.0, 0.0), "undecided"),
        ((0.5,), "undecided"),
    ],
)
def test_the_verdict_is_whether_the_paired_interval_excludes_zero(gains: tuple[float, ...], verdict: str) -> None:
    baseline = dict.fromkeys(range(len(gains)), 0.25)
    difference = compared({seed: 0.25 + gain for seed, gain in enumerate(gains)}, baseline)
    assert difference.verdict == verdict


def test_exchanging_the_arms_exchanges_better_and_worse() -> None:
    first, second = {0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.7, 1: 0.81, 2: 0.92}
    there, back = compared(second, first), compared(first, second)
    assert (there.verdict, back.verdict) == ("better", "worse")
    assert there.paired.mean == pytest.approx(-back.paired.mean)
    assert there.paired.half_width == pytest.approx(back.paired.half_width)


def test_far_apart_arms_have_disjoint_intervals_and_one_seed_has_none() -> None:
    baseline = {0: 0.50, 1: 0.51, 2: 0.52}
    far = compared({0: 0.90, 1: 0.91, 2: 0.92}, baseline)
    alone = compared({0: 0.90}, baseline)
    assert far.disjoint is True
    assert (alone.disjoint, alone.paired.half_width, alone.verdict) == (None, None, "undecided")


def test_only_seeds_that_both_have_are_paired() -> None:
    difference = compared({0: 0.6, 1: 0.7, 9: 0.0}, {0: 0.5, 1: 0.5, 2: 1.0})
    assert difference.paired.num == 2
    assert difference.paired.mean == pytest.approx(0.15)
    assert compare_pairs({0: 0.6}, {1: 0.5}) is None


def test_a_target_between_two_points_is_reached_on_the_line_between_them() -> None:
    points = curve([0.0, 0.4, 0.8])
    assert first_reach(points, "recall_at_1", 0.5, images_of) == pytest.approx(125.0)
    assert first_reach(curve([0.0, 0.4, 0.8], refresh_s=1.0), "recall_at_1", 0.5, seconds_of) == pytest.approx(2.5)


def test_the_first_time_counts_although_the_curve_falls_again() -> None:
    assert first_reach(curve([0.0, 0.6, 0.2, 0.8]), "recall_at_1", 0.6, images_of) == 100.0


def test_a_target_below_the_first_point_is_reached_there() -> None:
    assert first_reach(curve([0.3, 0.6], images=(50, 100)), "recall_at_1", 0.1, images_of) == 50.0


@given(VALUES)
def test_a_target_above_the_whole_curve_is_never_reached(values: list[float]) -> None:
    assert first_reach(curve(values), "recall_at_1", math.nextafter(max(values), 2), images_of) is None


@given(VALUES, VALUE, VALUE)
def test_a_higher_target_never_needs_fewer_images(values: list[float], one: float, other: float) -> None:
    for position in (images_of, seconds_of):
        lower, higher = (first_reach(curve(values), "recall_at_1", target, position) for target in sorted((one, other)))
        assert higher is None or (lower is not None and lower <= higher)


@given(VALUES)
def test_a_value_of_the_curve_is_reached_where_it_stands_or_before(values: list[float]) -> None:
    for i, value in enumerate(values):
        reached = first_reach(curve(values), "recall_at_1", value, images_of)
        assert reached is not None
        assert reached <= 100 * i
        if value > max(itertools.chain([-1.0], values[:i])):
            assert reached == 100 * i


def test_the_share_of_a_seed_is_measured_against_the_baseline_of_that_seed() -> None:
    baseline = {0: result("random", 0, [0.0, 0.2, 0.4]), 1: result("random", 1, [0.0, 0.4, 0.8])}
    arm = {0: result("mined", 0, [0.0, 0.4, 0.5], refresh_s=1.0), 1: result("mined", 1, [0.0, 0.7, 0.9], refresh_s=1.0)}
    images = reached(arm, baseline)
    seconds = reached(arm, baseline, seconds_of)
    assert images.share.mean == pytest.approx((0.5 + 0.75) / 2)  # 100 and 150 of 200 images
    assert seconds.share.mean == pytest.approx(1.0 + 0.25)  # 2 and 3 of 2 seconds: the refresh doubles them
    assert (images.num_reached, images.share.num, images.is_lower_bound) == (2, 2, False)


def test_a_seed_that_never_comes_there_counts_with_all_it_used_and_makes_a_lower_bound() -> None:
    baseline = {seed: result("random", seed, [0.0, 0.2, 0.4]) for seed in (0, 1)}
    arm = {0: result("mined", 0, [0.0, 0.4, 0.5]), 1: result("mined", 1, [0.0, 0.1, 0.2])}
    reach = reached(arm, baseline)
    assert (reach.share.mean, reach.num_reached, reach.is_lower_bound) == (0.75, 1, True)


def test_the_baseline_itself_needs_less_than_everything_where_it_fell_at_the_end() -> None:
    baseline = {0: result("random", 0, [0.0, 0.8, 0.4])}
    reach = reached(baseline, baseline)
    assert reach.share.mean == 0.25


def test_without_a_shared_seed_or_a_budget_there_is_no_share() -> None:
    arm, baseline = {0: result("mined", 0, [0.1, 0.2])}, {1: result("random", 1, [0.1, 0.2])}
    assert reach_baseline(arm, baseline, "recall_at_1", images_of) is None
    untrained = {0: result("random", 0, [0.1])}
    assert reach_baseline(arm, untrained, "recall_at_1", images_of) is None
