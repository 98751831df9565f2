"""Figures of merit as a Markdown table."""

from collections.abc import Mapping


def to_markdown(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each figure of merit, a column for each checkpoint.

    Args:
        metrics: Figures by their names, by checkpoint; a figure that a checkpoint lacks leaves its cell empty.
    """
    names = list(metrics)
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for metric in dict.fromkeys(metric for figures in metrics.values() for metric in figures):
        cells = (f"{figures[metric]:.4f}" if metric in figures else "" for figures in metrics.values())
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
