"""Learning curves: figures of merit over the checkpoints of a run."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, PercentFormatter

from pipeline.evaluation.metric_names import metric_label
from pipeline.plotting import legend_below, line_look, new_panels, style_axes, to_png

# Title of a panel, and a pattern that the whole name of its metrics matches.
GROUPS = MappingProxyType(
    {
        "Verification: VAL": r"val_at_far_[0-9.e-]+",
        "Retrieval: recall": r"recall_at_\d+",
        "Accuracy": r"(?!.*_int8).*accuracy.*",
        "Area under the ROC": r".*roc_auc",
        "Equal error rate": r".*eer",
    }
)
PANEL_WIDTH, PANEL_HEIGHT = 5.5, 4.0
LEGEND_COLUMNS = 2

Points = Sequence[tuple[int, Mapping[str, float]]]
Errors = Mapping[int, Mapping[str, float]]


def plot_learning_curve(
    points: Points, standard_errors: Errors = MappingProxyType({}), groups: Mapping[str, str] = GROUPS
) -> bytes:
    """Plots metrics over training steps, one panel for each group of metrics.

    Args:
        points: (step, metrics) of each checkpoint, in any order. A checkpoint may lack a metric.
        standard_errors: By step and metric, where there is one: plotted as a band.
        groups: Title of each panel, and a regular expression for the names of its metrics, all of them shares of 1.
            Metrics that match none are not plotted, and panels without metrics are left out.

    Returns:
        A PNG, two panels a row.

    Raises:
        ValueError: No metric matches.
    """
    points = sorted(points, key=lambda point: point[0])
    panels = _panels(points, groups)
    if not panels:
        raise ValueError("there is no metric to plot")
    most_lines = max(map(len, panels.values()))
    figure, cells = new_panels(len(panels), PANEL_WIDTH, PANEL_HEIGHT, -(-most_lines // LEGEND_COLUMNS))
    steps = sorted({step for step, _ in points})
    for axes, (title, lines) in zip(cells, panels.items(), strict=True):
        for place, (metric, name) in enumerate(lines.items()):
            _plot_metric(axes, points, standard_errors, metric, name, place)
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True) if len(steps) > 1 else FixedLocator(steps))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend_below(axes, num_columns=min(LEGEND_COLUMNS, len(lines)))
        style_axes(axes, title)
    return to_png(figure)


def has_curve(points: Points) -> bool:
    """Whether ``plot_learning_curve`` finds a metric to plot."""
    return bool(_panels(points, GROUPS))


def _panels(points: Points, groups: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The name of each metric's line, by panel; panels without lines are left out."""
    metrics = list(dict.fromkeys(name for _, values in points for name in values))
    panels = {
        title: {name: metric_label(name) for name in metrics if re.fullmatch(pattern, name)}
        for title, pattern in groups.items()
    }
    return {title: lines for title, lines in panels.items() if lines}


def _plot_metric(axes: Axes, points: Points, standard_errors: Errors, metric: str, name: str, place: int) -> None:
    steps = [step for step, values in points if metric in values]
    means = np.array([values[metric] for _, values in points if metric in values])
    errors = np.array([standard_errors.get(step, {}).get(metric, np.nan) for step in steps])
    color, marker = line_look(place)
    low, high = np.clip([means - errors, means + errors], 0, 1)
    axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(
        steps, means, color=color, marker=marker, markersize=5, markeredgecolor="white", linewidth=1.8, label=name
    )
