"""Plots sweeps: a figure of merit over the strength of perturbations, or over the size of runs."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullFormatter, NullLocator, PercentFormatter

from pipeline.evaluation.metric_names import metric_label
from pipeline.evaluation.plots.names import font_families, shorten_to_width
from pipeline.evaluation.robustness.protocol import Robustness
from pipeline.evaluation.sweep import Sweep, value_name
from pipeline.evaluation.verification.roc import DASHED
from pipeline.plotting import INK, LABEL_SIZE, line_look, new_panels, style_axes, to_png

PANEL_WIDTH, PANEL_HEIGHT = 5.5, 3.6
# Width of a name in the legend, in inches.
NAME_WIDTH = 4.0
# Lines at the top of a long scale stay clear of the title.
HEADROOM = 1.04
# From here on ticks are written as 26k and 2.6M.
LARGE = 10_000


def plot_robustness(results: Mapping[str, Robustness]) -> bytes:
    """Plots VAL at the first false accept rate against each sweep's values; dashed, that on unperturbed images.

    Args:
        results: By name ("untrained", "step 1500"), all with the same first rate.

    Returns:
        A PNG, one panel a sweep, two panels a row.

    Raises:
        ValueError: No results, or results at different rates.
    """
    headlines = {result.headline for result in results.values()}
    if len(headlines) != 1:
        raise ValueError(f"results of one false accept rate are needed, not {sorted(headlines)}")
    return plot_sweeps({name: result.sweeps for name, result in results.items()}, headlines.pop())


def plot_sweeps(results: Mapping[str, Sequence[Sweep]], metric: str) -> bytes:
    """Plots a metric against the values of each sweep, with ± its standard error where it has one.

    Args:
        results: Sweeps by the name of their line; those of one ``Sweep.name`` share a panel.
        metric: A share, in [0, 1]; every row must have it.

    Returns:
        A PNG, one panel a sweep in the order of their first appearance, two panels a row.

    Raises:
        ValueError: No sweep.
    """
    panels: dict[str, dict[str, Sweep]] = {}
    for name, sweeps in results.items():
        for sweep in sweeps:
            panels.setdefault(sweep.name, {})[name] = sweep
    if not panels:
        raise ValueError("there is no sweep to plot")
    styles = {name: line_look(place) for place, name in enumerate(results)}
    figure, cells = new_panels(len(panels), PANEL_WIDTH, PANEL_HEIGHT)
    for axes, lines in zip(cells, panels.values(), strict=True):
        for name, sweep in lines.items():
            _plot_line(axes, sweep, metric, *styles[name])
        _label_values(axes, list(lines.values()))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylabel(metric_label(metric))
        style_axes(axes, next(iter(lines.values())).title)
    sweeps = [sweep for lines in panels.values() for sweep in lines.values()]
    has_unperturbed = any(sweep.unperturbed is not None for sweep in sweeps)
    _share_scale(cells, has_unperturbed)
    _add_legend(figure, styles, has_unperturbed)
    return to_png(figure)


def _plot_line(axes: Axes, sweep: Sweep, metric: str, color: str, marker: str) -> None:
    values = [row.value for row in sweep.rows]
    heights = [row.metrics[metric] for row in sweep.rows]
    axes.plot(values, heights, color=color, marker=marker, markersize=5, linewidth=1.8)
    errors = {row.value: (row.metrics[metric], row.standard_errors.get(metric)) for row in sweep.rows}
    for value, (height, error) in errors.items():
        if error is not None:
            axes.errorbar(value, height, error, color=color, capsize=3, linewidth=1.2)
    if sweep.unperturbed is not None:
        axes.axhline(sweep.unperturbed[metric], color=color, linewidth=1.2, linestyle=DASHED, zorder=1)


def _label_values(axes: Axes, sweeps: Sequence[Sweep]) -> None:
    values = sorted({row.value for sweep in sweeps for row in sweep.rows})
    if all(sweep.is_log for sweep in sweeps) and values[0] > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    large = EngFormatter(sep="")
    axes.set_xticks(values, [large(value) if value >= LARGE else value_name(value) for value in values])
    axes.set_xlabel(sweeps[0].label)


def _share_scale(cells: Sequence[Axes], has_unperturbed: bool) -> None:
    """Gives all panels the same vertical scale, from 0 where losses are shown."""
    bottom = min(axes.get_ylim()[0] for axes in cells)
    top = max(axes.get_ylim()[1] for axes in cells)
    if has_unperturbed:
        bottom, top = 0.0, HEADROOM * top
    for axes in cells:
        axes.set_ylim(bottom, top)


def _add_legend(figure: Figure, styles: Mapping[str, tuple[str, str]], has_unperturbed: bool) -> None:
    handles = []
    for name, (color, marker) in styles.items():
        label = shorten_to_width(name, NAME_WIDTH, LABEL_SIZE)
        handles.append(Line2D([], [], color=color, marker=marker, markersize=5, linewidth=1.8, label=label))
    if has_unperturbed:
        handles.append(Line2D([], [], color=INK, linewidth=1.2, linestyle=DASHED, label="unspoilt"))
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=LABEL_SIZE, labelcolor=INK
    )
    for text in legend.get_texts():
        text.set_fontfamily(font_families())
