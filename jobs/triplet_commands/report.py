"""report: the run as one HTML file."""

import argparse
from pathlib import Path

from jobs.cli import Answer, Command, open_to_read
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.inspection.report.page import (
    MAX_GENERATIONS,
    MAX_TRIPLETS_PER_SHEET,
    NUM_GENERATIONS,
    TRIPLETS_PER_SHEET,
    write_report,
)


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Writes the report into the workspace, and to a file where one is named."""
    for flag, number, most in (
        ("--generations", flags.generations, MAX_GENERATIONS),
        ("--pictures", flags.pictures, MAX_TRIPLETS_PER_SHEET),
    ):
        if not 1 <= number <= most:
            raise InputError(f"command line: {flag} {number} is not between 1 and {most}")
    place = write_report(open_to_read(config), config, flags.generations, flags.pictures, flags.out)
    written = [place, *([str(flags.out)] if flags.out else [])]
    return Answer({"report": place, "copy": written[1] if flags.out else None}, written)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it to this file too")
    parser.add_argument(
        "--generations",
        type=int,
        default=NUM_GENERATIONS,
        metavar="N",
        help=f"compare the newest N (default: {NUM_GENERATIONS}, at most {MAX_GENERATIONS})",
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=TRIPLETS_PER_SHEET,
        metavar="N",
        help=f"triplets a contact sheet (default: {TRIPLETS_PER_SHEET}, at most {MAX_TRIPLETS_PER_SHEET})",
    )


COMMAND = Command(
    "one HTML file: distances, generations, learning curves, pictures of triplets and quarantine", run, add_flags
)
