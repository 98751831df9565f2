"""Plots clusterings: how pure and how complete the clusters are, and how large."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from pipeline.arrays import Int64Array
from pipeline.evaluation.clustering.protocol import Clustering
from pipeline.evaluation.plots.names import shorten_to_width, use_font_families
from pipeline.evaluation.verification.roc import DASHED
from pipeline.plotting import GREY, INK, LABEL_SIZE, legend_below, line_look, new_panels, style_axes, to_png

PANEL_WIDTH, PANEL_HEIGHT = 5.5, 5.0
NAME_WIDTH, LEGEND_WIDTH = 3.4, 4.4
F_LEVELS = (0.2, 0.4, 0.6, 0.8, 0.9)


def plot_clustering(results: Mapping[str, Clustering]) -> bytes:
    """Plots BCubed precision and recall of every result, and the sizes of the last result's clusters and labels.

    Args:
        results: By name ("untrained", "step 1500"), the most important last; all with the same methods.

    Returns:
        A PNG of two panels.

    Raises:
        ValueError: No results, or results of different methods.
    """
    if len({tuple(result.partitions) for result in results.values()}) != 1:
        raise ValueError("results of the same methods are needed, one or more")
    name, last = list(results.items())[-1]
    figure, (scores, sizes) = new_panels(2, PANEL_WIDTH, PANEL_HEIGHT, len(last.partitions) + 2)
    _plot_scores(scores, results)
    _plot_sizes(sizes, last)
    titles = ("Clusters: purity and completeness", f"Sizes, {shorten_to_width(name, NAME_WIDTH, 12, 'bold')}")
    for axes, title in zip((scores, sizes), titles, strict=True):
        style_axes(axes, title)
        use_font_families(axes)
    return to_png(figure)


def _plot_scores(axes: Axes, results: Mapping[str, Clustering]) -> None:
    """A path a method: hollow points for the earlier results, a filled one for the last."""
    _plot_f_contours(axes)
    *earlier, name = (shorten_to_width(name, NAME_WIDTH, LABEL_SIZE) for name in results)
    for place, method in enumerate(list(results.values())[-1].partitions):
        color, marker = line_look(place)
        partitions = [result.partitions[method] for result in results.values()]
        precision = [partition.bcubed_precision for partition in partitions]
        recall = [partition.bcubed_recall for partition in partitions]
        axes.plot(precision, recall, marker, color=color, linestyle="-", markersize=8, markerfacecolor="white")
        last = partitions[-1]
        entry = f"{_method_label(method)}: F {last.bcubed_f:.3f}, NMI {last.nmi:.3f}, adjusted Rand {last.ari:.3f}"
        axes.plot(precision[-1:], recall[-1:], marker, color=color, markersize=10, zorder=3, label=entry)
    for style, text in (("none", ", ".join(earlier)), (GREY, name)):
        if earlier:
            label = shorten_to_width(text, LEGEND_WIDTH, LABEL_SIZE)
            axes.plot([], [], "o", color=GREY, markersize=8, markerfacecolor=style, label=label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
    axes.set_xlabel("BCubed precision: share of an example's cluster with its label")
    axes.set_ylabel("BCubed recall: share of its label in its cluster")
    legend_below(axes)


def _plot_f_contours(axes: Axes) -> None:
    for f in F_LEVELS:
        precision = np.linspace(f / (2 - f), 1.0, 100)
        axes.plot(precision, f * precision / (2 * precision - f), color=GREY, linewidth=0.9, linestyle=DASHED, zorder=1)
        axes.annotate(
            f"F {f:g}",
            (1.0, f / (2 - f)),
            xytext=(0, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            color=GREY,
            fontsize=LABEL_SIZE,
        )


def _plot_sizes(axes: Axes, result: Clustering) -> None:
    for place, (method, partition) in enumerate(result.partitions.items()):
        sizes = partition.sizes
        entry = f"{_method_label(method)}: {len(sizes):,} clusters, {(sizes == 1).sum():,} of one"
        _plot_size_curve(axes, sizes, entry, line_look(place)[0])
    labels = result.label_sizes
    entry = f"labels: {len(labels):,}, {(labels == 1).sum():,} of them with one example"
    _plot_size_curve(axes, labels, entry, INK, DASHED)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("size: examples")
    axes.set_ylabel("clusters, or labels, of this size or larger")
    axes.minorticks_off()
    legend_below(axes)


def _plot_size_curve(
    axes: Axes, descending: Int64Array, label: str, color: str, linestyle: str | tuple[int, tuple[int, ...]] = "-"
) -> None:
    sizes, counts = np.unique(descending, return_counts=True)
    num_as_large = counts[::-1].cumsum()[::-1]
    # Beyond the largest there are none: the curve ends below the axis.
    sizes, num_as_large = np.append(sizes, sizes[-1]), np.append(num_as_large, 0.5)
    axes.step(sizes, num_as_large, where="pre", linewidth=1.8, color=color, linestyle=linestyle, label=label)
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(bottom=0.8)


def _method_label(method: str) -> str:
    return {"k_means": "k-means", "hdbscan": "HDBSCAN"}.get(method, method)
