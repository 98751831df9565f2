"""Line charts as SVG geometry: data in, scaled paths and ticks out; ``charts.html`` writes the elements.

Own SVG instead of matplotlib's: a page's colours, its fonts and its dark mode reach every stroke.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from matplotlib.ticker import EngFormatter, MaxNLocator

WIDTH, HEIGHT = 300, 178
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 8, 30
MAX_X_TICKS, MAX_Y_TICKS = 4, 4
LARGE = 10_000
_EMPTY_RANGE = 1e-9

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A curve; points that are not finite leave a gap.

    Attributes:
        name: In the legend; empty for none.
        points: (x, y), x ascending.
        colour: Index in the page's palette.
        opacity: 1 is the full colour.
        is_filled: The area down to the axis is tinted.
        has_markers: Points are marked, each with a tooltip.
        spread: (x, low, high) of a tinted band about the curve.
    """

    name: str
    points: Points
    colour: int = 0
    opacity: float = 1.0
    is_filled: bool = False
    has_markers: bool = False
    spread: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Tick:
    """A position on an axis, in SVG units, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes:
        title: Above the chart.
        x_label: Under the horizontal axis.
        lines: In this order, the last on top.
        rules: (x, label) of vertical lines.
        is_share: The vertical axis is a share, shown in per cent.
        from_zero: The vertical axis begins at 0.
        has_whole_x: Ticks stand at whole numbers only.
        y_limit: Greatest end of the vertical axis; higher points are cut off.
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    rules: Sequence[tuple[float, str]] = ()
    is_share: bool = False
    from_zero: bool = True
    has_whole_x: bool = False
    y_limit: float = math.inf
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @cached_property
    def x_range(self) -> tuple[float, float]:
        """From the first x to the last."""
        return _range([x for line in self.lines for x, _ in line.points])

    @cached_property
    def y_range(self) -> tuple[float, float]:
        """Of all lines and spreads, with some padding above."""
        low, high = _range(
            [y for line in self.lines for _, y in line.points]
            + [end for line in self.lines for _, *ends in line.spread for end in ends]
        )
        padding = 0.06 * (high - low)
        return (min(0.0, low) if self.from_zero else low - padding), min(high + padding, self.y_limit)

    @property
    def x_ticks(self) -> list[Tick]:
        """Of the horizontal axis."""
        low, high = self.x_range
        values = _tick_values(low, high, MAX_X_TICKS, self.has_whole_x)
        return [Tick(self._x(value), _number(value)) for value in values]

    @property
    def y_ticks(self) -> list[Tick]:
        """Of the vertical axis."""
        values = _tick_values(*self.y_range, MAX_Y_TICKS, False)
        return [Tick(self._y(value), f"{100 * value:.6g}%" if self.is_share else _number(value)) for value in values]

    @property
    def rule_ticks(self) -> list[Tick]:
        """The rules that lie within the chart."""
        low, high = self.x_range
        return [Tick(self._x(x), label) for x, label in self.rules if low <= x <= high]

    def path(self, line: Line) -> str:
        """The curve, as the ``d`` of an SVG path."""
        pieces, pen = [], "M"
        for x, y in line.points:
            if not math.isfinite(y):
                pen = "M"
                continue
            pieces.append(f"{pen}{self._x(x):.1f} {self._y(y):.1f}")
            pen = "L"
        return "".join(pieces)

    def area(self, line: Line) -> str:
        """The tinted area, as the ``d`` of an SVG path: the band about a curve, or the area under it."""
        if line.spread:
            band = [point for point in line.spread if all(map(math.isfinite, point))]
            edge = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
        elif line.is_filled and line.points:
            floor = max(0.0, self.y_range[0])
            edge = [(line.points[0][0], floor), *line.points, (line.points[-1][0], floor)]
        else:
            return ""
        return "M" + "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in edge) + "Z"

    def markers(self, line: Line) -> list[tuple[float, float, str]]:
        """(x, y, tooltip) of the marked points."""
        if not line.has_markers:
            return []
        template = "{:.1%}" if self.is_share else "{:,.4g}"
        return [
            (self._x(x), self._y(y), f"{line.name or self.title}: {template.format(y)} at {self.x_label} {x:,.0f}")
            for x, y in line.points
            if math.isfinite(y)
        ]

    def _x(self, value: float) -> float:
        return _scale(value, self.x_range, self.left, self.right)

    def _y(self, value: float) -> float:
        return _scale(value, self.y_range, self.bottom, self.top)


def _number(value: float) -> str:
    """As 0.25, 1,200 or 75k."""
    return f"{value:,.6g}" if abs(value) < LARGE else str(EngFormatter(sep="")(value))


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest finite value, made wide enough to draw."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    if high - low < _EMPTY_RANGE:
        return low - 0.5, high + 0.5
    return low, high


def _scale(value: float, values: tuple[float, float], start: float, end: float) -> float:
    low, high = values
    return start + (value - low) / (high - low) * (end - start)


def _tick_values(low: float, high: float, most: int, whole: bool) -> list[float]:
    locator = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=1)
    slack = 1e-6 * (high - low)
    return [float(value) + 0.0 for value in locator.tick_values(low, high) if low - slack <= value <= high + slack]
