import pytest

from pipeline.evaluation.plots.learning_curve import has_curve, plot_learning_curve
from pipeline.plotting import PALETTE
from tests.unit.evaluation.plots.pixels import ink_at_the_edge, palette_colors, pixels

POINTS = [
    (step, {"val_at_far_1e-03": step / 1000, "val_at_far_1e-02": step / 900, "recall_at_1": step / 800, "loss": 3.0})
    for step in range(0, 700, 100)
]


def test_the_order_of_the_checkpoints_does_not_matter() -> None:
    assert plot_learning_curve(POINTS) == plot_learning_curve(POINTS[::-1])


def test_each_group_has_a_panel_and_each_metric_a_line() -> None:
    single, both = (
        plot_learning_curve([(s, {"recall_at_1": m["recall_at_1"]}) for s, m in POINTS]),
        plot_learning_curve(POINTS),
    )
    assert palette_colors(pixels(single)) == {PALETTE[0]}
    assert palette_colors(pixels(both)) == set(PALETTE[:2])
    assert pixels(both).shape[1] == 2 * pixels(single).shape[1]


def test_what_matches_no_group_is_not_drawn() -> None:
    without = [(step, {name: value for name, value in metrics.items() if name != "loss"}) for step, metrics in POINTS]
    assert plot_learning_curve(POINTS) == plot_learning_curve(without)


def test_groups_can_be_named() -> None:
    assert palette_colors(pixels(plot_learning_curve(POINTS, groups={"Loss": "loss"}))) == {PALETTE[0]}


def test_a_standard_error_is_drawn_as_a_band() -> None:
    errors = {step: {"recall_at_1": 0.1} for step, _ in POINTS}
    assert plot_learning_curve(POINTS, errors) != plot_learning_curve(POINTS)
    assert plot_learning_curve(POINTS, {0: {"unknown": 0.1}}) == plot_learning_curve(POINTS)


@pytest.mark.parametrize("points", [POINTS[:1], POINTS[3:4], [(0, {"eer": 0.5}), (5, {"recall_at_8": 1.0})]])
def test_single_checkpoints_and_metrics_that_come_later_are_drawn(points: list[tuple[int, dict[str, float]]]) -> None:
    picture = pixels(plot_learning_curve(points))
    assert PALETTE[0] in palette_colors(picture)
    assert not ink_at_the_edge(picture)


def test_many_lines_stay_within_the_picture() -> None:
    points = [(step, {f"classifier_{k}_accuracy": step / (900 + k) for k in range(15)}) for step in (0, 500)]
    assert not ink_at_the_edge(pixels(plot_learning_curve(points)))


def test_whether_there_is_a_curve_is_known_beforehand() -> None:
    assert has_curve([(0, {"recall_at_1": 0.5})])
    assert not has_curve([(0, {"int8_max_distance_error": 0.1})])
