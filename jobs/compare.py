"""Compare: train ways of choosing triplets under an equal budget of images, over several seeds, with intervals.

Stop it at any time: the same command trains only what has no result yet.
"""

import argparse

from jobs.cli import Report, open_job, run_job
from pipeline.config import RunConfig
from pipeline.studies.compare.arms import ARMS, choose_arms
from pipeline.studies.compare.report import to_document
from pipeline.studies.compare.stage import Plan, draw_beside, run_comparison


def run(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Trains and compares, or draws what was compared."""
    job = open_job(config)
    if flags.beside:
        arms = choose_arms(flags.arms)
        return {"picture": draw_beside(job.workspace, flags.name, flags.beside, arms, flags.baseline)}
    own = {name: getattr(flags, name) for name in ("name", "baseline", "seeds", "images", "points", "labels")}
    comparison, uri = run_comparison(job, Plan(**own, arms=tuple(choose_arms(flags.arms))))
    return to_document(comparison) | {"folder": uri}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("--name", default="main", help="names the comparison and its folder (default main)")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="ARM", help=f"of {', '.join(ARMS)}")
    parser.add_argument("--baseline", default="in_batch", help="the arm that others are compared with")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm (default 3)")
    parser.add_argument("--images", type=int, default=108_000, help="budget of each run (default 108000)")
    parser.add_argument("--points", type=int, default=12, help="evaluations of each run (default 12)")
    parser.add_argument(
        "--beside", nargs="+", metavar="NAME[=WORDS]", help="train nothing: draw these comparisons' gains"
    )
    parser.add_argument("--labels", type=int, help="train on so many labels only")


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
