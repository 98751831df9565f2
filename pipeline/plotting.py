"""What all pictures share: colours that colour-blind readers can tell apart, quiet axes, PNG bytes."""

import io
from collections.abc import Sized

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK = "#24292f"
GRID = "#d9dde2"
GREY = "#8c96a3"
DPI = 150
LABEL_SIZE = 9
LEGEND_LINE = 0.18  # height of a legend's line, in inches

# Okabe and Ito (2008) and Paul Tol's "muted" (SRON/EPS/TN/09-002), without their palest, most unlike ones first.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#332288", "#56b4e9", "#882255", "#999933")
# Colours repeat after nine lines, and print may lose them: the shape tells lines apart as well.
MARKERS = "osD^vPXph*"


def line_look(place: int) -> tuple[str, str]:
    """Colour and marker of the line at a place, counted from 0."""
    return PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]


def new_panels(num_panels: int, width: float, height: float, num_legend_lines: int = 0) -> tuple[Figure, list[Axes]]:
    """A figure with its panels in two columns.

    Args:
        num_panels: At least 1.
        width: Of one panel, in inches.
        height: Of one panel, in inches.
        num_legend_lines: Lines of its legend for which the height is not enough.
    """
    height += LEGEND_LINE * num_legend_lines
    num_columns = min(2, num_panels)
    num_rows = -(-num_panels // num_columns)
    # No pyplot: a Figure of its own needs no display, holds no global state and is freed with its last reference.
    layout = ConstrainedLayoutEngine(wspace=0.04, hspace=0.04, w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width * num_columns, height * num_rows), dpi=DPI, layout=layout, facecolor="white")
    cells = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for axes in cells[num_panels:]:
        axes.remove()
    return figure, cells[:num_panels]


def two_panels(results: Sized) -> tuple[Figure, list[Axes]]:
    """Two panels whose legends have a line for each result; raises ValueError where there is no result."""
    if not results:
        raise ValueError("there is no result to plot")
    return new_panels(2, 5.5, 5.2, max(0, len(results) - 2))  # high enough for legends of two lines


def style_axes(axes: Axes, title: str) -> None:
    """Quiet axes under a title."""
    axes.set_title(title, color=INK, fontsize=12, fontweight="bold")
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.7)
    axes.tick_params(colors=INK, labelsize=LABEL_SIZE, length=0)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)


def legend_below(axes: Axes, num_columns: int = 1) -> None:
    """A legend under the panel, where it hides no curve."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=LABEL_SIZE, ncols=num_columns)


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes; the same figure gives the same bytes."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
