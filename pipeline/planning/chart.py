"""Draws how the stages of a refresh grow with the corpus."""

from collections.abc import Sequence

from pipeline.planning.plan import Plan
from pipeline.plotting import GREY, legend_below, line_look, new_panels, style_axes, to_png

_MARKS = ((60.0, "a minute"), (3600.0, "an hour"), (86_400.0, "a day"), (30 * 86_400.0, "a month"))


def draw_plans(plans: Sequence[Plan]) -> bytes:
    """Seconds of each stage over the number of examples, as PNG; plans are of one cluster, by ascending size."""
    figure, (axes,) = new_panels(1, 7.0, 5.0)
    sizes = [plan.work.num_examples for plan in plans]
    for place, stage in enumerate(plans[-1].stages):
        color, marker = line_look(place)
        seconds = [next(one.seconds for one in plan.stages if one.name == stage.name) for plan in plans]
        axes.loglog(sizes, seconds, color=color, marker=marker, linewidth=1.8, label=stage.name)
    for limit, words in _MARKS:
        axes.axhline(limit, color=GREY, linewidth=0.8, linestyle=":")
        axes.annotate(words, (sizes[0], limit), color=GREY, fontsize=8, va="bottom")
    style_axes(axes, "one refresh, by stage")
    axes.set_xlabel("examples")
    axes.set_ylabel("seconds")
    legend_below(axes, num_columns=4)
    return to_png(figure)
