"""The picture of a verification: its ROC and its distances, as one PNG."""

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from pipeline.evaluation.verification import OperatingPoint, Verification

INK = "#24292f"
GRID = "#d9dde2"
SAME = "#1f6fb4"
DIFFERENT = "#d9822b"
EARLIER = ("#8c96a3", "#5b9279", "#a05195", "#b8a13c", "#c0504d")
FINEST_FAR = 1e-5
NUM_BINS = 80


def draw_verification(results: Mapping[str, Verification], far: float = 1e-3) -> bytes:
    """Draws the ROC of every result over one another, and the distances of the last one beside it.

    Args:
        results: By name ("untrained", "step 1500"), the one that matters last.
        far: False accept rate whose threshold is marked.

    Returns:
        A PNG of 1650×780 pixels.

    Raises:
        ValueError: No results.
    """
    if not results:
        raise ValueError("there is no result to draw")
    # No pyplot: a Figure of its own needs no display, holds no global state and is freed with its last reference.
    layout = ConstrainedLayoutEngine(wspace=0.06, w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(11, 5.2), dpi=150, layout=layout, facecolor="white")
    roc, histogram = figure.subplots(1, 2)
    name, last = list(results.items())[-1]
    point = last.at_far(far)
    _draw_roc(roc, results, point)
    _draw_distances(histogram, name, last, point)
    for axes in (roc, histogram):
        _style(axes)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _draw_roc(axes: Axes, results: Mapping[str, Verification], point: OperatingPoint) -> None:
    *earlier, last = results.items()
    for index, (name, result) in enumerate(earlier):
        color = EARLIER[index % len(EARLIER)]
        axes.plot(*result.roc_curve(), color=color, linewidth=1.6, label=_legend_entry(name, result, point.far))
    axes.plot(*last[1].roc_curve(), color=SAME, linewidth=2.4, label=_legend_entry(*last, point.far), zorder=3)
    axes.axvline(point.far, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot([point.far], [point.val], "o", color=SAME, markeredgecolor="white", markersize=8, zorder=4)
    axes.set_xscale("log")
    axes.minorticks_off()
    finest = min(1 / len(result.different) for result in results.values())
    axes.set_xlim(min(max(finest, FINEST_FAR), point.far / 2), 1)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("FAR: different pairs accepted")
    axes.set_ylabel("VAL: same pairs accepted")
    axes.set_title("Verification ROC")
    _legend_below(axes)


def _legend_entry(name: str, result: Verification, far: float) -> str:
    return f"{name}: VAL {result.at_far(far).val:.1%} at FAR {far:g}, AUC {result.roc_auc():.4f}"


def _draw_distances(axes: Axes, name: str, result: Verification, point: OperatingPoint) -> None:
    low = min(result.same[0], result.different[0])
    high = max(result.same[-1], result.different[-1])
    bins = np.linspace(low, high if high > low else low + 1, NUM_BINS + 1)
    kinds = (("same label", result.same, SAME), ("different labels", result.different, DIFFERENT))
    for kind, distances, color in kinds:
        shares = np.histogram(distances, bins)[0] / len(distances)
        axes.stairs(shares, bins, fill=True, color=color, alpha=0.35)
        axes.stairs(shares, bins, color=color, linewidth=1.6, label=f"{kind} ({len(distances):,} pairs)")
    axes.axvline(point.threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
    # Written towards the middle, so that the label never leaves the panel.
    on_the_left = point.threshold > (bins[0] + bins[-1]) / 2
    axes.annotate(
        f"d = {point.threshold:.3f}\nat FAR {point.far:g}",
        (point.threshold, 0.97),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-6 if on_the_left else 6, 0),
        textcoords="offset points",
        ha="right" if on_the_left else "left",
        va="top",
        color=INK,
        fontsize=9,
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("squared L2 distance d")
    axes.set_ylabel("share of the pairs of a kind")
    axes.set_title(f"Distances, {name}")
    _legend_below(axes)


def _legend_below(axes: Axes) -> None:
    """Under the panel, where it hides no curve."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=9)


def _style(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.7)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.title.set(color=INK, fontsize=12, fontweight="bold")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
