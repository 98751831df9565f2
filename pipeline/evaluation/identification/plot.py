"""Plots identification: the CMC curves of all results, and their DIR over the false alarm rate."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from pipeline.evaluation.identification.protocol import IdentificationReport
from pipeline.evaluation.plots.names import shorten_to_width, use_font_families
from pipeline.evaluation.verification.roc import NAME_WIDTH
from pipeline.plotting import LABEL_SIZE, PALETTE, legend_below, style_axes, to_png, two_panels

NUM_RANKS = 200
# Lines repeat their colour after those of the palette.
DASHES = ("solid", (0, (4, 2)), (0, (1, 1.5)))


def plot_identification(results: Mapping[str, IdentificationReport]) -> bytes:
    """Plots the closed set's identification rate by rank, and beside it the open set's DIR by false alarm rate.

    Args:
        results: By name ("untrained", "step 1500"), the most important last.

    Returns:
        A PNG of 1650×780 pixels; with more than two results, it is higher by a line of the legend for each.

    Raises:
        ValueError: No results.
    """
    figure, (closed, opened) = two_panels(results)
    for place, (name, result) in enumerate(results.items()):
        label = shorten_to_width(name, NAME_WIDTH, LABEL_SIZE)
        color = PALETTE[place % len(PALETTE)]
        dashes = DASHES[place // len(PALETTE) % len(DASHES)]
        style = {"color": color, "linestyle": dashes, "linewidth": 2.4 if place == len(results) - 1 else 1.6}
        _plot_cmc(closed, result, label, style)
        _plot_open_set(opened, result, label, style)
    titles = (
        _title("Closed set", [result.closed_set.gallery_size for result in results.values()]),
        _title("Open set", [result.open_set.gallery_size for result in results.values()]),
    )
    for axes, title in zip((closed, opened), titles, strict=True):
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_ylim(-0.01, 1.02)  # shows the whole width of a line along zero
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        legend_below(axes)
        use_font_families(axes)
        style_axes(axes, title)
    closed.xaxis.set_major_formatter(FuncFormatter(lambda rank, _: f"{rank:,.0f}"))
    closed.set_xlim(1, max(2, *(result.closed_set.gallery_size for result in results.values())))
    opened.set_xlim(min(1 / len(result.open_set.unmated) for result in results.values()) / 1.0001, 1)
    return to_png(figure)


def _plot_cmc(axes: Axes, result: IdentificationReport, name: str, style: Mapping[str, Any]) -> None:
    closed_set = result.closed_set
    ranks = np.unique(np.geomspace(1, closed_set.gallery_size, NUM_RANKS).astype(int))
    rates = ", ".join(f"rank {rank} {rate:.1%}" for rank, rate in list(result.rates.items())[:2])
    axes.plot(ranks, [closed_set.rate(rank) for rank in ranks], label=f"{name}: {rates}", **style)
    axes.set_xlabel("rank k")
    axes.set_ylabel("probes with their mate among the k nearest")


def _plot_open_set(axes: Axes, result: IdentificationReport, name: str, style: Mapping[str, Any]) -> None:
    rates = ", ".join(f"DIR {point.dir:.1%} at FAR {point.far:g}" for point in result.points[:2])
    axes.plot(*result.open_set.curve(), label=f"{name}: {rates}", **style)
    for point in result.points:
        axes.plot([point.far], [point.dir], "o", color=style["color"], markeredgecolor="white", markersize=7, zorder=4)
    axes.set_xlabel("FAR: strangers taken for somebody")
    axes.set_ylabel("DIR: enrolled, and named rightly")


def _title(name: str, gallery_sizes: list[int]) -> str:
    distinct = sorted(set(gallery_sizes))
    return f"{name}: {distinct[0]:,} labels enrolled" if len(distinct) == 1 else name
