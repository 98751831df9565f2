"""show: some triplets, with labels, distances and where their examples came from."""

import argparse
from dataclasses import asdict

from jobs.cli import Answer, Command, open_to_read
from jobs.triplet_commands.flags import add_generation, add_query_flags, positive, query_of
from pipeline.config import RunConfig
from pipeline.inspection.generation import open_generation
from pipeline.inspection.query.rows import ROLES, TripletRow, empty_result_reason, select_rows
from pipeline.inspection.tables import text_table

_FIGURES = ("d_ap", "d_an", "margin")


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Shows triplets of the named generation."""
    generation = open_generation(open_to_read(config), flags.generation)
    query = query_of(flags, config.seed, flags.number)
    rows = select_rows(generation, query)
    paths = generation.corpus.paths_of(getattr(row, role) for row in rows for role in ROLES)
    number, num = generation.manifest.number, generation.manifest.num_triplets
    documents = [
        asdict(row) | {"margin": row.margin} | {f"{role}_path": paths[getattr(row, role)] for role in ROLES}
        for row in rows
    ]
    title = f"generation {number}: {len(rows):,} of {num:,} triplets, {flags.order}"
    cells = (_cells(row, paths) for row in rows)
    table = text_table(title, [*ROLES, *_FIGURES, "kind"], cells, right=_FIGURES, has_lines=True)
    reason = [] if rows else [empty_result_reason(generation, query)]
    report = {"generation": number, "num_triplets": num, "order": flags.order, "rows": documents}
    return Answer(report, [table, *reason])


def _cells(row: TripletRow, paths: dict[int, str]) -> list[str]:
    labels = {"anchor": row.label, "positive": row.label, "negative": row.negative_label}
    examples = [f"{getattr(row, role)} {labels[role]}\n{paths[getattr(row, role)]}" for role in ROLES]
    return [*examples, *(f"{getattr(row, name):.4f}" for name in _FIGURES), row.kind]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    add_generation(parser)
    add_query_flags(parser, "hardest")
    parser.add_argument("--number", type=positive, default=20, metavar="N", help="how many to show (default: 20)")


COMMAND = Command("some triplets: the hardest, a random draw, those of a label or of an example", run, add_flags)
