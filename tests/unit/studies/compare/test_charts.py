import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plotting import PALETTE
from pipeline.studies.compare.chart_panels import arm_looks, mean_curve, spread
from pipeline.studies.compare.charts import dependence_points, draw_dependence, draw_learning_curves
from pipeline.studies.compare.results import ArmResult
from pipeline.studies.compare.summary import compare
from tests.unit.evaluation.plots.pixels import num_pixels, png_size
from tests.unit.studies.compare.samples import curve, learned, result

ARMS = [f"arm_{i}" for i in range(10)]


def test_learning_curves_are_a_png_with_two_panels_a_row() -> None:
    assert png_size(draw_learning_curves(learned(["random", "mined"], range(2)), "random")) == (1980, 600)
    one_metric = [result("random", 0, [0.1, 0.5]), result("mined", 0, [0.1, 0.6])]
    assert png_size(draw_learning_curves(one_metric, "random")) == (990, 600)


def test_the_same_results_in_any_order_give_the_same_picture() -> None:
    results = learned(["random", "mined", "online"], range(3))
    assert draw_learning_curves(results, "random") == draw_learning_curves(results[::-1], "random")


def test_ten_arms_are_drawn_each_in_a_colour_of_its_own() -> None:
    png = draw_learning_curves(learned(ARMS, range(2)), ARMS[0], ARMS)
    assert all(num_pixels(png, color) > 300 for color in PALETTE)


def test_an_arm_keeps_its_colour_when_another_arm_becomes_the_baseline_after_it() -> None:
    assert arm_looks(ARMS[:4], ARMS[3])[ARMS[0]] == arm_looks(ARMS[:3], "other")[ARMS[0]]
    looks = arm_looks(ARMS, ARMS[0])
    assert len(set(looks.values())) == len(ARMS)


def test_an_arm_that_ended_early_or_was_evaluated_once_is_drawn() -> None:
    results = [result("random", 0, [0.1, 0.5, 0.6]), result("short", 0, [0.1, 0.4]), result("once", 0, [0.1])]
    assert png_size(draw_learning_curves(results, "random"))
    assert png_size(draw_learning_curves([result("once", 0, [0.5])], "random"))


def test_a_mean_curve_covers_the_images_that_every_seed_has_come_to() -> None:
    early = ArmResult(arm="a", seed=0, digest="d", curve=curve([0.0, 0.4], images=(0, 200)), facts={})
    late = ArmResult(arm="a", seed=1, digest="d", curve=curve([0.2, 0.4, 0.9], images=(0, 100, 300)), facts={})
    mean = mean_curve([early, late], "recall_at_1")
    np.testing.assert_array_equal(mean.images, [0, 100, 200])
    np.testing.assert_allclose(mean.mean, [0.1, 0.3, 0.525])
    np.testing.assert_allclose(mean.low, [0.0, 0.2, 0.4])
    np.testing.assert_allclose(mean.high, [0.2, 0.4, 0.65])


def test_a_dependence_has_a_point_for_each_arm_and_metric_but_none_for_the_baseline() -> None:
    points = dependence_points("400", compare(learned(["random", "mined", "online"], range(3)), "random"))
    assert {(point.condition, point.arm, point.metric) for point in points} == {
        ("400", arm, metric) for arm in ("mined", "online") for metric in ("recall_at_1", "roc_auc")
    }


def test_a_dependence_is_a_png_with_two_panels_a_row() -> None:
    points = [
        point
        for condition, num_seeds in (("400 labels", 3), ("1,000 labels,\nbatch 36", 3), ("all of the labels", 1))
        for point in dependence_points(condition, compare(learned(ARMS, range(num_seeds)), ARMS[0]))
    ]
    png = draw_dependence(points, ARMS[0])
    assert png_size(png) == (1740, 600)
    assert draw_dependence(points, ARMS[0]) == png
    assert all(num_pixels(png, color) > 100 for color in PALETTE)
    assert png_size(draw_dependence([p for p in points if p.metric == "roc_auc"], ARMS[0])) == (870, 600)


def test_a_decided_gain_is_filled_and_an_undecided_one_is_hollow() -> None:
    decided, undecided = (
        dependence_points("all", compare(learned(["random", "mined"], range(num_seeds), gain=0.1), "random"))
        for num_seeds in (3, 1)
    )
    filled, hollow = (draw_dependence(points, "random") for points in (decided, undecided))
    assert num_pixels(filled, PALETTE[0]) > num_pixels(hollow, PALETTE[0]) + 100


@given(st.lists(st.floats(-1e3, 1e3), max_size=12), st.floats(0.01, 50.0))
def test_labels_stand_apart_in_their_order_and_within_the_panel_where_it_has_room(
    wanted: list[float], gap: float
) -> None:
    placed = spread(wanted, gap, -1e3, 1e3)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    ascending = [placed[i] for i in order]
    assert all(b - a >= gap * (1 - 1e-6) - 1e-9 for a, b in pairwise(ascending))
    assert all(-1e3 - 1e-6 <= place <= 1e3 + 1e-6 for place in placed)


def test_labels_with_room_stay_where_they_are_and_a_crowd_keeps_its_middle() -> None:
    assert spread([5.0, 1.0, 3.0], 1.0, 0.0, 10.0) == [5.0, 1.0, 3.0]
    assert spread([5.0, 5.0, 5.0], 1.0, 0.0, 10.0) == [4.0, 5.0, 6.0]
    assert spread([9.9, 9.8], 1.0, 0.0, 10.0) == [10.0, 9.0]


def test_ray_and_torch_and_the_global_state_of_pyplot_are_left_out() -> None:
    modules = "pipeline.studies.compare.charts, pipeline.studies.compare.report"
    code = f"import sys, {modules}; sys.exit(bool({{'ray', 'torch', 'matplotlib.pyplot'}} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_to_draw_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no result"):
        draw_learning_curves([], "random")
    with pytest.raises(ValueError, match="no point"):
        draw_dependence([], "random")
