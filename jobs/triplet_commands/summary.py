"""summary: a generation on one page."""

import argparse

from jobs.cli import Answer, Command, open_to_read
from jobs.triplet_commands.flags import add_generation, positive
from pipeline.config import RunConfig
from pipeline.encoders.checkpoint_names import LATEST, find_step
from pipeline.inspection.generation import open_generation
from pipeline.inspection.summary.summary import summarise
from pipeline.inspection.summary.view import format_summary
from pipeline.inspection.verify.rescoring import score_under_checkpoint


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Summarises the named generation, and scores a sample of it again where that is asked for."""
    workspace = open_to_read(config)
    generation = open_generation(workspace, flags.generation)
    named = f"--against {flags.against!r}"
    step = None if flags.against is None else find_step(flags.against, workspace, named)
    report = summarise(generation, flags.top)
    report["against"] = None if step is None else score_under_checkpoint(generation, config, step, flags.sample)
    return Answer(report, format_summary(report))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    add_generation(parser)
    parser.add_argument(
        "--against",
        metavar=f"STEP|{LATEST}",
        help="score a sample of the triplets again under this checkpoint: are they still worth training on?",
    )
    parser.add_argument("--sample", type=positive, default=512, metavar="N", help="of so many triplets (default: 512)")
    parser.add_argument(
        "--top", type=positive, default=10, metavar="N", help="most frequent negatives to list (default: 10)"
    )


COMMAND = Command(
    "counts, quantiles of the distances, coverage, hubs, quarantine, and how the triplets have aged", run, add_flags
)
