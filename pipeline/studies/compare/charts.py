"""The charts of a comparison: how the arms learn, and on what their gain depends."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.evaluation.metric_names import metric_label
from pipeline.plotting import INK, LABEL_SIZE, new_panels, style_axes, to_png
from pipeline.studies.compare.chart_panels import (
    Looks,
    arm_looks,
    draw_curves,
    draw_gains,
    draw_zero,
    label_ends,
    mean_curve,
    spread_labels,
)
from pipeline.studies.compare.results import ArmResult
from pipeline.studies.compare.statistics import Difference
from pipeline.studies.compare.summary import Comparison, group_results

# Share of a condition's width that its points are spread over.
DODGE = 0.7
# Of tick labels, in one panel.
CHARACTERS_WIDE = 64
# Of a legend's entry, in inches: what stands before its name, and one character of it.
HANDLE_WIDTH = 0.65
CHARACTER_WIDTH = 0.08


@dataclass(frozen=True)
class DependencePoint:
    """The gain of one arm under one condition.

    Attributes:
        condition: Place on the x axis, such as "400 labels"; it may have line breaks.
        arm: Name.
        metric: Name.
        difference: To the baseline under the same condition.
    """

    condition: str
    arm: str
    metric: str
    difference: Difference


def dependence_points(condition: str, comparison: Comparison) -> list[DependencePoint]:
    """All gains of one comparison, to be drawn beside those of comparisons under other conditions."""
    return [
        DependencePoint(condition, summary.arm, metric, values.difference)
        for summary in comparison.arms
        for metric, values in summary.metrics.items()
        if values.difference is not None
    ]


def draw_learning_curves(results: Iterable[ArmResult], baseline: str, arms: Sequence[str] = ()) -> bytes:
    """Draws each metric against the images forwarded: the mean of the seeds, in the band from lowest to highest.

    Args:
        results: One for each arm and seed, in any order.
        baseline: The arm that is drawn dashed.
        arms: Order of the colours; other arms follow in alphabetical order.

    Returns:
        A PNG, one panel a metric, two panels a row.

    Raises:
        ValueError: No results.
        InputError: Two results for one arm and seed.
    """
    by_arm = group_results(results, arms)
    if not by_arm:
        raise ValueError("there is no result to draw")
    first = next(iter(next(iter(by_arm.values())).values()))
    metrics = sorted(first.final.metrics)
    looks = arm_looks(list(by_arm), baseline)
    figure, panels = new_panels(len(metrics), width=6.6, height=max(4.0, 1.0 + 0.22 * len(by_arm)))
    labels = []
    for axes, metric in zip(panels, metrics, strict=True):
        curves = {arm: mean_curve(list(by_seed.values()), metric) for arm, by_seed in by_arm.items()}
        draw_curves(axes, curves, looks, baseline)
        axes.set_xlabel("images forwarded")
        style_axes(axes, metric_label(metric))
        labels.append(label_ends(figure, axes, curves, looks))
    caption = f"line: mean of the seeds · band: lowest to highest seed · dashed: {baseline}"
    figure.supxlabel(caption, fontsize=LABEL_SIZE, color=INK)
    # The labels take their room beside the panels; only then is it known how far they must stand apart.
    figure.draw_without_rendering()
    for axes, annotations in zip(panels, labels, strict=True):
        spread_labels(figure, axes, annotations)
    return to_png(figure)


def draw_dependence(points: Sequence[DependencePoint], baseline: str) -> bytes:
    """Draws the gain of each arm over the baseline, with its 95 % interval, against a condition.

    A filled point is decided: its interval excludes 0. One without a bar comes from one seed.

    Args:
        points: See ``dependence_points``; conditions, arms and metrics keep the order of their first appearance.
        baseline: Name of the arm at 0.

    Returns:
        A PNG, one panel a metric, two panels a row.

    Raises:
        ValueError: No points.
    """
    if not points:
        raise ValueError("there is no point to draw")
    conditions = list(dict.fromkeys(point.condition for point in points))
    metrics = list(dict.fromkeys(point.metric for point in points))
    arms = list(dict.fromkeys(point.arm for point in points))
    looks = arm_looks(arms, baseline)
    figure, panels = new_panels(len(metrics), width=5.8, height=4.0)
    names = [_wrap(condition, CHARACTERS_WIDE // len(conditions)) for condition in conditions]
    for axes, metric in zip(panels, metrics, strict=True):
        draw_zero(axes, len(conditions))
        for place, arm in enumerate(arms):
            offset = DODGE * ((place + 0.5) / len(arms) - 0.5)
            of_arm = [point for point in points if (point.arm, point.metric) == (arm, metric)]
            draw_gains(axes, {conditions.index(p.condition) + offset: p.difference for p in of_arm}, looks[arm])
        axes.set_xticks(range(len(names)), names)
        style_axes(axes, metric_label(metric))
        axes.grid(visible=False, axis="x")
    figure.supylabel(f"gain over {baseline}", fontsize=LABEL_SIZE, color=INK)
    caption = (
        f"difference to {baseline} within a seed, 95 % interval\nfilled: the interval excludes 0; no bar: one seed"
    )
    _legend_below(figure, arms, looks, caption)
    return to_png(figure)


def _legend_below(figure: Figure, arms: Sequence[str], looks: Looks, caption: str) -> None:
    num_columns = int(figure.get_figwidth() / (HANDLE_WIDTH + CHARACTER_WIDTH * max(map(len, arms))))
    handles = []
    for arm in arms:
        color, marker = looks[arm]
        handles.append(Line2D([], [], color=color, marker=marker, markersize=7, linewidth=1.4, label=arm))
    legend = figure.legend(
        handles=handles,
        title=caption,
        loc="outside lower center",
        ncols=max(1, min(len(arms), num_columns)),
        frameon=False,
        fontsize=LABEL_SIZE,
        title_fontsize=LABEL_SIZE,
        labelcolor=INK,
    )
    legend.get_title().set(color=INK, multialignment="center")


def _wrap(name: str, width: int) -> str:
    """Breaks a long name between words; breaks that it has remain."""
    return "\n".join(textwrap.fill(line, max(8, width)) for line in name.splitlines())
