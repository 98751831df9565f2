"""sql: any SELECT over what was published."""

import argparse
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from jobs.cli import Answer, Command, open_to_read
from jobs.triplet_commands.flags import positive
from pipeline.config import RunConfig
from pipeline.inspection.query.sql import SqlSession
from pipeline.inspection.query.sql_guard import VIEWS
from pipeline.inspection.query.views import open_generations
from pipeline.inspection.tables import FittingTable

ALL = "all"
_NUMBERS = ("INT", "FLOAT", "DOUBLE", "DECIMAL")


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Runs the statement; ``--json`` gives all rows."""
    workspace, every = open_to_read(config), flags.generation == ALL
    number = None if every else flags.generation
    with SqlSession(workspace, lambda: open_generations(workspace, number, every)) as session:
        result = session.select(flags.statement)
        # A row beyond the limit tells that there are more.
        rows = result.fetch(None if flags.json else flags.limit + 1)
    columns, types = result.columns, result.types
    report = {"columns": columns, "types": types, "rows": [[plain(value) for value in row] for row in rows]}
    shown = rows[: flags.limit]
    right = [name for name, kind in zip(columns, types, strict=True) if kind.endswith(_NUMBERS) or "DECIMAL" in kind]
    table = FittingTable(columns, [[_cell(value) for value in row] for row in shown], right)
    more = [f"the first {flags.limit:,} rows; --limit shows more, --json all"] if len(rows) > flags.limit else []
    return Answer(report, [table, *more])


def plain(value: object) -> Any:  # noqa: ANN401 — what JSON knows
    """A value of DuckDB as JSON has it; what JSON does not know becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    return f"{value:.6g}" if isinstance(value, float) else str(plain(value))


def _number_or_all(text: str) -> int | str:
    if text == ALL:
        return ALL
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither the number of a generation nor {ALL!r}")
    return int(text)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("statement", metavar="STATEMENT", help=f"one SELECT over the views {', '.join(VIEWS)}")
    parser.add_argument(
        "--generation",
        type=_number_or_all,
        metavar=f"N|{ALL}",
        help="whose triplets and quarantine the views show (default: the newest)",
    )
    parser.add_argument("--limit", type=positive, default=50, metavar="N", help="rows to show (default: 50)")


COMMAND = Command("any SELECT over triplets, corpus, quarantine, generations and checkpoints", run, add_flags)
