import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import MiningConfig
from pipeline.inspection.report.charts import Chart, Line
from pipeline.inspection.report.figures import MAX_BINS, distance_charts
from pipeline.inspection.report.generations import GenerationOverview
from pipeline.inspection.summary.statistics import Histogram
from pipeline.triplets.schema import GenerationManifest

FLOATS = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])


def chart(*points: tuple[float, float], **options: object) -> Chart:
    return Chart("t", "x", [Line("", points, has_markers=True)], **options)  # type: ignore[arg-type]


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_points_are_placed_in_proportion_between_the_axes() -> None:
    plotted = chart((0, 0), (5, 50), (10, 100))
    (x0, y0), (x1, y1), (x2, y2) = places(plotted.path(plotted.lines[0]))
    assert (x0, x2, y0) == (plotted.left, plotted.right, plotted.bottom)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert plotted.top < y2 < plotted.top + 15  # some padding above


def test_a_point_that_is_no_number_leaves_a_gap() -> None:
    plotted = chart((0, 1), (1, 2), (2, math.nan), (3, 1), (4, 2))
    assert plotted.path(plotted.lines[0]).count("M") == 2
    assert len(plotted.markers(plotted.lines[0])) == 4


@given(st.lists(st.tuples(st.integers(0, 1000), FLOATS), max_size=20))
def test_whatever_is_drawn_lies_within_the_axes(found: list[tuple[int, float]]) -> None:
    plotted = chart(*sorted((float(x), y) for x, y in found))
    for x, y in places(plotted.path(plotted.lines[0])):
        assert plotted.left <= x <= plotted.right
        assert plotted.top <= y <= plotted.bottom
    for tick in plotted.x_ticks:
        assert plotted.left - 0.1 <= tick.at <= plotted.right + 0.1
    for tick in plotted.y_ticks:
        assert plotted.top - 0.1 <= tick.at <= plotted.bottom + 0.1
    assert plotted.x_ticks or not found


def test_ticks_of_a_share_are_in_per_cent_and_as_fine_as_they_need_to_be() -> None:
    assert [tick.label for tick in chart((0, 0), (1, 0.95), is_share=True).y_ticks] == ["0%", "50%", "100%"]
    assert [tick.label for tick in chart((0, 0), (1, 0.009), is_share=True).y_ticks] == ["0%", "0.25%", "0.5%", "0.75%"]


def test_large_numbers_are_shortened() -> None:
    assert [tick.label for tick in chart((0, 0), (1, 90_000)).y_ticks] == ["0", "25k", "50k", "75k"]


def test_generations_have_ticks_at_whole_numbers_only() -> None:
    assert [tick.label for tick in chart((3, 1), (4, 2), has_whole_x=True).x_ticks] == ["3", "4"]
    assert [tick.label for tick in chart((7, 1), has_whole_x=True).x_ticks] == ["7"]


def overview(number: int, d_ap: npt.ArrayLike) -> GenerationOverview:
    """A generation whose margins are all 0.1."""
    near = np.asarray(d_ap, dtype=np.float32)
    histograms = [Histogram.empty(0.0, 4.0), Histogram.empty(0.0, 4.0), Histogram.empty(-4.0, 4.0)]
    for histogram, values in zip(histograms, (near, near + np.float32(0.1), np.full_like(near, 0.1)), strict=True):
        histogram.add(values)
    construct: Any = GenerationManifest.model_construct  # the other fields are not used
    manifest = construct(number=number, mining=MiningConfig())
    d_ap_counts, d_an_counts, margin_counts = histograms
    return GenerationOverview(manifest, d_ap=d_ap_counts, d_an=d_an_counts, margin=margin_counts, diff=None)


def test_a_histogram_shows_the_share_of_triplets_in_each_bin() -> None:
    values = np.repeat([0.5, 1.0, 1.5], [100, 300, 600])
    d_ap, d_an, _, _ = distance_charts([overview(0, values)])
    for plotted, shift in ((d_ap, 0.0), (d_an, 0.1)):
        (line,) = plotted.lines
        heights = {y for _, y in line.points if y}
        assert heights == {0.1, 0.3, 0.6}
        assert line.points[0][0] == pytest.approx(0.5 + shift, abs=1e-3)
        assert line.points[-1][0] == pytest.approx(1.5 + shift, abs=0.02)
        assert len(line.points) <= 2 * (MAX_BINS + 1)


def test_shares_of_all_generations_add_up_but_for_the_tails() -> None:
    rng = np.random.default_rng(0)
    generations = [overview(number, rng.uniform(0.1 * number, 2.0, 5000)) for number in range(3)]
    for plotted in distance_charts(generations)[:2]:
        for line in plotted.lines:
            assert sum(y for _, y in line.points) / 2 == pytest.approx(1.0, abs=0.003)


def test_an_older_generation_of_one_bin_does_not_flatten_the_newest() -> None:
    spread_out = np.random.default_rng(0).uniform(0.0, 2.0, 10_000)
    plotted = distance_charts([overview(0, np.full(1000, 0.01)), overview(1, spread_out)])[0]
    newest = plotted.lines[-1]
    assert (newest.name, newest.is_filled, newest.opacity) == ("1", True, 1.0)
    peak = max(y for _, y in newest.points)
    assert plotted.y_range[1] == pytest.approx(1.5 * peak)
    assert plotted.lines[0].opacity < 1.0


def test_generations_without_a_triplet_are_drawn_as_nothing() -> None:
    for plotted in distance_charts([overview(0, []), overview(1, [])]):
        for line in plotted.lines:
            assert all(not y or math.isnan(y) for _, y in line.points)
            assert "nan" not in plotted.path(line) + plotted.area(line)
