"""Plots verification: the ROC of all results, and the distances of the last."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from pipeline.evaluation.plots.names import shorten_to_width, use_font_families
from pipeline.evaluation.verification.protocol import OperatingPoint, Verification
from pipeline.evaluation.verification.roc import DASHED, plot_roc
from pipeline.plotting import GREY, INK, LABEL_SIZE, PALETTE, legend_below, style_axes, to_png, two_panels

SAME, DIFFERENT = PALETTE[:2]
EARLIER = (GREY, *PALETTE[2:])
NUM_BINS = 80
TITLE_WIDTH = 3.4


def plot_verification(results: Mapping[str, Verification], far: float = 1e-3) -> bytes:
    """Plots the ROC curves of all results in a panel, and the distances of the last result beside it.

    Args:
        results: By name ("untrained", "step 1500"), the most important last.
        far: False accept rate whose threshold is marked.

    Returns:
        A PNG of 1650×780 pixels; with more than two results, it is higher by a line of the legend for each.

    Raises:
        ValueError: No results.
    """
    figure, (roc, histogram) = two_panels(results)
    name, last = list(results.items())[-1]
    styles = [{"color": EARLIER[i % len(EARLIER)], "linewidth": 1.6} for i in range(len(results) - 1)]
    plot_roc(roc, results, [*styles, {"color": SAME, "linewidth": 2.4, "zorder": 3}], far)
    roc.set_ylim(0, 1.02)
    _plot_distances(histogram, last, last.at_far(far))
    titles = ("Verification ROC", f"Distances, {shorten_to_width(name, TITLE_WIDTH, 12, 'bold')}")
    for axes, title in zip((roc, histogram), titles, strict=True):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        legend_below(axes)
        style_axes(axes, title)
        use_font_families(axes)
    return to_png(figure)


def _plot_distances(axes: Axes, result: Verification, point: OperatingPoint) -> None:
    low = min(result.same[0], result.different[0])
    high = max(result.same[-1], result.different[-1])
    bins = np.linspace(low, high if high > low else low + 1, NUM_BINS + 1)
    kinds = (("same label", result.same, SAME), ("different labels", result.different, DIFFERENT))
    for kind, distances, color in kinds:
        shares = np.histogram(distances, bins)[0] / len(distances)
        axes.stairs(shares, bins, fill=True, color=color, alpha=0.35)
        axes.stairs(shares, bins, color=color, linewidth=1.6, label=f"{kind} ({len(distances):,} pairs)")
    axes.axvline(point.threshold, color=INK, linewidth=1, linestyle=DASHED)
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
        fontsize=LABEL_SIZE,
    )
    axes.set_xlabel("squared L2 distance d")
    axes.set_ylabel("share of the pairs of a kind")
