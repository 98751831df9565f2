"""ROC curves over a logarithmic FAR axis."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from pipeline.evaluation.plots.names import shorten_to_width
from pipeline.evaluation.verification.protocol import Verification
from pipeline.plotting import INK, LABEL_SIZE

FINEST_FAR = 1e-5
# Width of a name in the legend, in inches; the figures behind it take as much again.
NAME_WIDTH = 2.0
DASHED = (0, (4, 3))


def plot_roc(axes: Axes, results: Mapping[str, Verification], styles: Sequence[Mapping[str, Any]], far: float) -> None:
    """Plots a curve for each result, with its point at a false accept rate.

    Args:
        axes: The panel.
        results: By name.
        styles: Of each curve, in the same order: colour, line width and so on.
        far: Rate of the marked point.
    """
    for (name, result), style in zip(results.items(), styles, strict=True):
        val = result.at_far(far).val
        figures = f"VAL {val:.1%} at FAR {far:g}, AUC {result.roc_auc():.4f}"
        label = f"{shorten_to_width(name, NAME_WIDTH, LABEL_SIZE)}: {figures}"
        axes.plot(*result.roc_curve(), label=label, **style)
        axes.plot([far], [val], "o", color=style["color"], markeredgecolor="white", markersize=8, zorder=4)
    axes.axvline(far, color=INK, linewidth=1, linestyle=DASHED, zorder=1)
    axes.set_xscale("log")
    axes.minorticks_off()
    finest = min(1 / len(result.different) for result in results.values())
    axes.set_xlim(min(max(finest, FINEST_FAR), far / 2), 1)
    axes.set_xlabel("FAR: different pairs accepted")
    axes.set_ylabel("VAL: same pairs accepted")
