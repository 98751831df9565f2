"""What stands in one panel of a comparison's charts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import EngFormatter, MaxNLocator
from matplotlib.transforms import offset_copy
from scipy.optimize import isotonic_regression  # type: ignore[import-untyped]

from pipeline.arrays import Float64Array
from pipeline.plotting import GRID, INK, LABEL_SIZE, line_look
from pipeline.studies.compare.results import ArmResult
from pipeline.studies.compare.statistics import Difference

# The first steps of every arm look alike and would take most of the height: left out of it, not of the panel.
STEEP_START = 1 / 4
LINE_HEIGHT = 1.25
LEADER = {"arrowstyle": "-", "linewidth": 1.2, "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 0}

Look = tuple[str, str]  # colour and marker of an arm
Looks = Mapping[str, Look]


def arm_looks(arms: Sequence[str], baseline: str) -> dict[str, Look]:
    """The look of each arm; the baseline has ink and no marker, wherever it stands."""
    others = [arm for arm in arms if arm != baseline]
    return {baseline: (INK, "")} | {arm: line_look(place) for place, arm in enumerate(others)}


class Curve(NamedTuple):
    """Mean, lowest and highest value of the seeds at so many images; each float64 of one length."""

    images: Float64Array
    mean: Float64Array
    low: Float64Array
    high: Float64Array


def mean_curve(results: Sequence[ArmResult], metric: str) -> Curve:
    """Over the images that every seed has come to, at all points of all seeds, each seed linear between its own."""
    seeds = [([p.images for p in result.curve], [p.metrics[metric] for p in result.curve]) for result in results]
    start, end = max(images[0] for images, _ in seeds), min(images[-1] for images, _ in seeds)
    grid = sorted({count for images, _ in seeds for count in images if start <= count <= end} or {start})
    values = np.array([np.interp(grid, images, value) for images, value in seeds])
    return Curve(np.array(grid, dtype=np.float64), values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def draw_curves(axes: Axes, curves: Mapping[str, Curve], looks: Looks, baseline: str) -> None:
    """One line and one band an arm."""
    for arm, curve in curves.items():
        color, marker = looks[arm]
        axes.fill_between(curve.images, curve.low, curve.high, color=color, alpha=0.13, linewidth=0, zorder=1)
        axes.plot(
            curve.images,
            curve.mean,
            color=color,
            linestyle=(0, (5, 2)) if arm == baseline else "-",
            linewidth=2.2 if arm == baseline else 1.7,
            marker=marker,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            markevery=max(1, len(curve.images) // 6),
            zorder=4 if arm == baseline else 3,
        )
    _set_limits(axes, curves)


def _set_limits(axes: Axes, curves: Mapping[str, Curve]) -> None:
    most = max(curve.images[-1] for curve in curves.values())
    flat = [curve.images >= min(most * STEEP_START, curve.images[-1]) for curve in curves.values()]
    lowest = min(curve.low[kept].min() for curve, kept in zip(curves.values(), flat, strict=True))
    highest = max(curve.high[kept].max() for curve, kept in zip(curves.values(), flat, strict=True))
    margin = max(0.05 * (highest - lowest), 1e-3)
    axes.set_ylim(lowest - margin, highest + margin)
    axes.set_xlim(0, max(most, 1))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def label_ends(figure: Figure, axes: Axes, curves: Mapping[str, Curve], looks: Looks) -> list[Annotation]:
    """Each arm's name to the right of the panel, with a line of its colour to the end of its curve."""
    beside = offset_copy(axes.get_yaxis_transform(), figure, x=20, units="points")
    return [
        axes.annotate(
            arm,
            (curve.images[-1], curve.mean[-1]),
            xytext=(1, curve.mean[-1]),
            textcoords=beside,
            va="center",
            color=INK,
            fontsize=LABEL_SIZE,
            arrowprops={"color": looks[arm][0]} | LEADER,
            annotation_clip=False,
        )
        for arm, curve in curves.items()
    ]


def spread_labels(figure: Figure, axes: Axes, annotations: Sequence[Annotation]) -> None:
    """Moves the labels apart, once the panel has its height."""
    low, high = axes.get_ylim()
    points_high = axes.get_window_extent().height * 72 / figure.dpi
    gap = LABEL_SIZE * LINE_HEIGHT / points_high * (high - low)
    heights = spread([annotation.xyann[1] for annotation in annotations], gap, low, high)
    for annotation, height in zip(annotations, heights, strict=True):
        annotation.xyann = (1, height)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves labels apart, so that the sum of the squared moves is least, and keeps their order.

    Args:
        positions: Wanted positions, in any order.
        gap: Least distance of two labels, in the same unit.
        low: Least position.
        high: Greatest position, where there is room for all labels between the two; else they leave by the top.

    Returns:
        Positions in the order given, neighbours at least ``gap`` apart.
    """
    if not positions:
        return []
    order = np.argsort(positions, kind="stable")
    offsets = gap * np.arange(len(positions))  # less these, the labels need only ascend
    starts = isotonic_regression(np.take(positions, order) - offsets).x.clip(low, max(low, high - offsets[-1]))
    placed = np.empty(len(positions))
    placed[order] = starts + offsets
    return placed.tolist()


def draw_zero(axes: Axes, num_conditions: int) -> None:
    """The baseline, and lines that part the conditions."""
    axes.axhline(0, color=INK, linewidth=1.4, linestyle=(0, (5, 2)), zorder=2)
    for boundary in range(1, num_conditions):
        axes.axvline(boundary - 0.5, color=GRID, linewidth=0.7)
    axes.set_xlim(-0.5, num_conditions - 0.5)


def draw_gains(axes: Axes, gains: Mapping[float, Difference], look: Look) -> None:
    """One arm: its gain by place on the x axis."""
    color, marker = look
    places, means = list(gains), [gain.paired.mean for gain in gains.values()]
    axes.plot(places, means, color=color, linewidth=1, alpha=0.4, zorder=1)
    for place, gain in gains.items():
        axes.errorbar(
            place,
            gain.paired.mean,
            yerr=gain.paired.half_width,
            color=color,
            marker=marker,
            markersize=7,
            markerfacecolor="white" if gain.verdict == "undecided" else color,
            markeredgecolor=color,
            markeredgewidth=1.4,
            elinewidth=1.4,
            capsize=3,
            zorder=3,
        )
