"""Tables for people, on stderr."""

from collections.abc import Mapping, Sequence

from rich.table import Table


def spread(ratio: Mapping[str, float]) -> str:
    """A ratio as ``Times.ratio`` gives it: median (smallest–largest)."""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"


def make_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of which no word is cut off."""
    table = Table(title=title)
    for place, heading in enumerate(headings):
        words = [word for cell in (heading, *(row[place] for row in rows)) for word in cell.split()]
        table.add_column(heading, justify="right", min_width=max(map(len, words)))
    for row in rows:
        table.add_row(*row)
    return table
