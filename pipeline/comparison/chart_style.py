"""What the charts of a comparison share: colours that colour-blind readers can tell apart, axes, labels, PNG."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK = "#24292f"
GRID = "#d9dde2"
DPI = 150
LABEL_SIZE = 9

# Colour and marker of an arm; and those of every arm.
Look = tuple[str, str]
Looks = Mapping[str, Look]

# Okabe and Ito (2008) and Paul Tol's "muted" (SRON/EPS/TN/09-002), without their palest, most unlike ones first.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#332288", "#56b4e9", "#882255", "#999933")
# Colours repeat after nine arms, and print may lose them: the shape tells the arms apart as well.
MARKERS = "osD^vPXph*"


def arm_looks(arms: Sequence[str], baseline: str) -> dict[str, Look]:
    """Colour and marker of each arm; the baseline has ink and no marker, wherever it stands."""
    others = [arm for arm in arms if arm != baseline]
    looks = {arm: (PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]) for i, arm in enumerate(others)}
    return {baseline: (INK, "")} | looks


def new_panels(num_panels: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with its panels in two columns.

    Args:
        num_panels: At least 1.
        width: Of one panel, in inches.
        height: Of one panel, in inches.
    """
    num_columns = min(2, num_panels)
    num_rows = -(-num_panels // num_columns)
    # No pyplot: a Figure of its own needs no display, holds no global state and is freed with its last reference.
    layout = ConstrainedLayoutEngine(wspace=0.04, hspace=0.04, w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width * num_columns, height * num_rows), dpi=DPI, layout=layout, facecolor="white")
    cells = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for axes in cells[num_panels:]:
        axes.remove()
    return figure, cells[:num_panels]


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


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves labels apart, so that the sum of the squared moves is least, and keeps their order.

    Args:
        positions: Wanted positions, in any order.
        gap: Least distance of two labels, in the same unit.
        low: Least position.
        high: Greatest position, where there is room for all labels between the two; else they leave by the top.

    Returns:
        Positions in the order given, neighbours at least ``gap`` apart.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    # Pool adjacent violators: a cluster is its members' wanted positions, less their places within it.
    clusters: list[list[float]] = []
    for rank, index in enumerate(order):
        clusters.append([positions[index] - rank * gap])
        while len(clusters) > 1 and _mean(clusters[-2]) >= _mean(clusters[-1]):
            last = clusters.pop()
            clusters[-1] += last
    top = max(low, high - (len(order) - 1) * gap)
    starts = [min(max(_mean(cluster), low), top) for cluster in clusters for _ in cluster]
    placed = [0.0] * len(positions)
    for rank, index in enumerate(order):
        placed[index] = starts[rank] + rank * gap
    return placed


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes; the same figure gives the same bytes."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
