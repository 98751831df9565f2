"""Draws what was measured."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from pipeline.benchmark.mine import PRODUCTS_ALONE
from pipeline.plotting import to_png


def draw_mining(report: dict[str, Any]) -> bytes:
    """Products a second by backend and kind of embeddings, and time against N with the fitted exponent, as PNG."""
    if report["ladder"]:
        figure = Figure(figsize=(12, 9), dpi=130, layout="constrained")
        (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False)
        _draw_ladder(bottom, report["ladder"])
    else:
        figure = Figure(figsize=(12, 4.6), dpi=130, layout="constrained")
        top = figure
    rates, scaling = top.subplots(1, 2, width_ratios=(3, 2))
    _draw_rates(rates, report["cases"])
    rates.set_title(f"N = {report['size']['num_examples']:,}, D = {report['size']['num_dims']}", fontsize=10)
    _draw_scaling(scaling, report["scaling"])
    machine = report["machine"]
    figure.suptitle(f"Exact mining on {machine['name']}, {machine['num_threads']} threads", fontsize=11)
    return to_png(figure)


def _draw_rates(axes: Axes, cases: list[dict[str, Any]]) -> None:
    """Bars by contestant; the products alone, which nothing can beat, stand grey behind them."""
    names = [
        name
        for name in dict.fromkeys(name for case in cases for name in case["products_per_s"])
        if name != PRODUCTS_ALONE
    ]
    if any(PRODUCTS_ALONE in case["products_per_s"] for case in cases):
        limits = [case["products_per_s"].get(PRODUCTS_ALONE, 0.0) / 1e9 for case in cases]
        axes.bar(range(len(cases)), limits, 0.9, color="0.88", label="native's products alone")
    width = 0.84 / len(names)
    for place, name in enumerate(names):
        offset = (place - (len(names) - 1) / 2) * width
        bars = axes.bar(
            [i + offset for i in range(len(cases))],
            [case["products_per_s"].get(name, 0.0) / 1e9 for case in cases],
            width,
            label=name,
        )
        axes.bar_label(bars, fmt="%.2g", fontsize=7)
    axes.set_xticks(range(len(cases)), [f"{case['noise']:g}\n{case['pairs_per_anchor']:.0f}" for case in cases])
    axes.set_xlabel("noise (0.8: well trained … 4: untrained) and positives an anchor")
    axes.set_ylabel("anchor × candidate products, 10⁹ a second")
    axes.margins(y=0.25)
    axes.legend(fontsize=8, ncols=2, loc="upper right")


def _draw_scaling(axes: Axes, scaling: dict[str, Any]) -> None:
    if points := scaling["points"]:
        num, seconds = ([point[key] for point in points] for key in ("num_examples", "seconds"))
        axes.loglog(num, seconds, "o-", label="every example an anchor, 1 positive")
        if (exponent := scaling["exponent"]) is not None:
            line = seconds[-1] * (np.array(num) / num[-1]) ** exponent
            axes.loglog(num, line, "--", color="grey", label=f"$N^{{{exponent:.2f}}}$")
        axes.legend(fontsize=8)
    axes.set_xlabel("examples N")
    axes.set_ylabel("seconds of one whole pass")
    axes.grid(alpha=0.3, which="both")


def _draw_ladder(figure: FigureBase, stages: list[dict[str, Any]]) -> None:
    """What a candidate costs by the step of the ladder, and how many are looked at; a line a stage of training."""
    costs, looks = figure.subplots(1, 2)
    for axes, key, label in (
        (costs, "float32_products", "float32 products that a candidate costs"),
        (looks, "looks", "candidates looked at, per product"),
    ):
        for stage in stages:
            names = [step["step"] for step in stage["steps"]]
            values = [step[key] for step in stage["steps"]]
            axes.semilogy(names, values, "o-", label=f"checkpoint {stage['checkpoint_step']:,}")
        axes.set_ylabel(label)
        axes.set_xlabel("step of the ladder, alone")
        axes.tick_params(axis="x", labelrotation=30)
        axes.grid(alpha=0.3, axis="y", which="both")
    costs.axhline(1.0, color="grey", linestyle="--", linewidth=1)
    costs.legend(fontsize=8, title="embeddings of", title_fontsize=8)
