"""Tables of text from data, none of which is taken for markup."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from pipeline.progress import plain_text

_READABLE, _BORDER = 12, 3
"""Width in characters at which a column is readable, though longer cells are folded; and the width of its borders."""


def text_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Iterable[str] = (),
    has_lines: bool = False,
    frame: box.Box = box.HEAVY_HEAD,
) -> Table:
    """A table whose cells are never taken for markup or for control sequences of a terminal.

    Args:
        title: Heading.
        columns: Headings of the columns.
        rows: Cells, which may hold line breaks.
        right: Columns that are aligned right.
        has_lines: Whether there are lines between the rows.
        frame: Style of the borders.
    """
    aligned_right = set(right)
    table = Table(title=plain_text(title), title_justify="left", show_lines=has_lines, box=frame)
    for name in columns:
        table.add_column(plain_text(name), justify="right" if name in aligned_right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(plain_text, row))
    return table


@dataclass(frozen=True)
class FittingTable:
    """A table where the terminal is wide enough; else a record for each row, with the columns below each other."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()
    """Columns that are aligned right."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Chooses by the terminal's width."""
        widest = [max([len(cell) for cell in column]) for column in zip(self.columns, *self.rows, strict=True)]
        if sum(min(width, _READABLE) + _BORDER for width in widest) < options.max_width or not self.rows:
            yield text_table("", self.columns, self.rows, self.right)
            return
        for number, row in enumerate(self.rows, start=1):
            record = Table(title=f"row {number}", title_justify="left", show_header=False, box=box.SIMPLE)
            record.add_column()
            record.add_column(overflow="fold")
            for name, cell in zip(self.columns, row, strict=True):
                record.add_row(plain_text(name), plain_text(cell))
            yield record
