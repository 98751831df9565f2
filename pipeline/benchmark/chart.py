"""Draws what was measured."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def draw_mining(report: dict[str, Any], path: Path) -> None:
    """Products a second by backend and kind of embeddings, and time against N with the fitted exponent.

    Args:
        report: As ``jobs.benchmark mine`` writes it.
        path: PNG to write.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    rates, scaling = figure.subplots(1, 2)
    cases = report["cases"]
    names = list(dict.fromkeys(name for case in cases for name in case["products_per_s"]))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        x = [
            i + (place - (len(names) - 1) / 2) * width for i, case in enumerate(cases) if name in case["products_per_s"]
        ]
        bars = rates.bar(
            x, [case["products_per_s"][name] / 1e9 for case in cases if name in case["products_per_s"]], width
        )
        bars.set_label(name)
        rates.bar_label(bars, fmt="%.2g", fontsize=7)
    rates.set_xticks(
        range(len(cases)),
        [f"noise {case['noise']:g}\n{case['pairs_per_anchor']:.0f} positive(s)" for case in cases],
        fontsize=8,
    )
    rates.set_ylabel("anchor × candidate products, 10⁹ a second")
    rates.set_title(f"N = {report['size']['num_examples']:,}, D = {report['size']['num_dims']}", fontsize=10)
    rates.legend(fontsize=8)
    points = report["scaling"]["points"]
    if points:
        num, seconds = ([point[key] for point in points] for key in ("num_examples", "seconds"))
        scaling.loglog(num, seconds, "o-", label="every example an anchor, 1 positive")
        if (exponent := report["scaling"]["exponent"]) is not None:
            line = seconds[-1] * (np.array(num) / num[-1]) ** exponent
            scaling.loglog(num, line, "--", color="grey", label=f"N^{exponent:.2f}")
        scaling.legend(fontsize=8)
    scaling.set_xlabel("examples N")
    scaling.set_ylabel("seconds of one whole pass")
    scaling.grid(alpha=0.3, which="both")
    figure.suptitle(
        f"Exact semi-hard mining on {report['machine']['name']}, {report['machine']['num_threads']} threads",
        fontsize=10,
    )
    figure.savefig(path, dpi=130)
