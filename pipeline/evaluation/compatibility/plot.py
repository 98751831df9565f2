"""Plots the compatibility of new embeddings with old ones, as FaceNet's figure 8 shows its harmonic embedding."""

from collections.abc import Mapping

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pipeline.evaluation.plots.names import use_font_families
from pipeline.evaluation.verification.protocol import Verification
from pipeline.evaluation.verification.roc import plot_roc
from pipeline.plotting import PALETTE, legend_below, new_panels, style_axes, to_png

# Dashes tell curves apart in print too, and where they run into one another.
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))
LOWEST_VAL = 1e-3


def plot_compatibility(results: Mapping[str, Verification], far: float = 1e-3) -> bytes:
    """Plots the ROC of each result, both axes logarithmic (Schroff et al. 2015, FaceNet, figure 8).

    Args:
        results: By name, the best first: "new vs new", "new vs old", "old vs old".
        far: False accept rate that is marked.

    Returns:
        A PNG of one panel.

    Raises:
        ValueError: No results.
    """
    if not results:
        raise ValueError("there is no result to plot")
    figure, (axes,) = new_panels(1, 7.0, 5.4, len(results))
    styles = [
        {"color": PALETTE[i % len(PALETTE)], "linewidth": 2.2, "linestyle": DASHES[i % len(DASHES)]}
        for i in range(len(results))
    ]
    plot_roc(axes, results, styles, far)
    axes.set_yscale("log")
    left = axes.get_xlim()[0]
    lowest = min(result.at_far(left).val for result in results.values())
    axes.set_ylim(max(lowest, LOWEST_VAL) / 1.2, 1.1)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda val, _: f"{100 * val:g}%"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    legend_below(axes)
    axes.tick_params(which="minor", length=0)
    style_axes(axes, "Compatibility of the embeddings")
    use_font_families(axes)
    return to_png(figure)
