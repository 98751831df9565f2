"""Tables of text that comes from data: shown as it is, whatever it holds."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text


def text_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Iterable[str] = (),
    has_lines: bool = False,
) -> Table:
    """A table whose cells are never taken for markup or for control sequences of a terminal.

    Args:
        title: Heading.
        columns: Headings of the columns.
        rows: Their cells; a new line begins a new line.
        right: Columns that are numbers.
        has_lines: Whether a line parts the rows.
    """
    numbers = set(right)
    table = Table(title=plain_text(title), title_justify="left", show_lines=has_lines)
    for name in columns:
        table.add_column(plain_text(name), justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(plain_text, row))
    return table


def plain_text(text: str) -> Text:
    """Text as it is: no markup, and nothing that a terminal would act on."""
    return Text("".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text))
