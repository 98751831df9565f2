"""Sweep: FaceNet's tables of embedding size and training-set size, trained here under one budget of images.

Stop it at any time: the same command trains only what has no result yet.
"""

import argparse

from jobs.cli import Report, open_job, run_job
from pipeline.config import RunConfig
from pipeline.studies.sweep import TITLES, SweepPlan, run_sweep


def run(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Trains a run for each value and seed."""
    job = open_job(config)
    plan = SweepPlan(flags.name or flags.over, flags.over, tuple(flags.values), flags.seeds, flags.images)
    sweep, uri = run_sweep(job, plan)
    return sweep.to_dict() | {"folder": uri}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("--name", help="names the sweep and its folder (default: what --over says)")
    parser.add_argument("--over", choices=tuple(TITLES), default="embedding_dim", help="what the runs differ in")
    parser.add_argument("--values", nargs="+", type=int, default=[64, 128, 256, 512], metavar="N", help="one run each")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each value (default 2)")
    parser.add_argument("--images", type=int, default=108_000, help="budget of each run (default 108000)")


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
