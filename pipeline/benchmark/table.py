"""Tables for people, on stderr."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table


def spread(ratio: Mapping[str, float]) -> str:
    """A ratio as ``Times.ratio`` gives it: median (smallest–largest)."""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"


def show(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table."""
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    Console(stderr=True).print(table)
