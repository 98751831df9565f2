"""verify: is a generation what its manifest and the corpus say?"""

import argparse

from jobs.cli import Answer, Command, open_to_read
from jobs.triplet_commands.flags import add_generation, positive
from pipeline.config import RunConfig
from pipeline.inspection.generation import open_generation
from pipeline.inspection.verify.check import format_check, verify_generation


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Verifies the named generation; what does not hold is an error."""
    generation = open_generation(open_to_read(config), flags.generation)
    report = verify_generation(generation, None if flags.all else flags.sample, config.seed)
    return Answer(report, format_check(report))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    add_generation(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--all",
        action="store_true",
        help="compute the distances of all triplets again; holds all embeddings in memory",
    )
    which.add_argument(
        "--sample",
        type=positive,
        default=100_000,
        metavar="N",
        help="compute the distances of so many triplets again (default: 100000); all else is checked of all triplets",
    )


COMMAND = Command(
    "parts by digest, ids, labels, roles and bands of all triplets, and their distances against the embeddings",
    run,
    add_flags,
)
