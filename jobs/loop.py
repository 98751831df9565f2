"""Loop: mine and train on one Ray, round after round, then show what it brought, and write the run's HTML report.

Stop it at any instant; the same command goes on from the newest checkpoint and publishes nothing twice.
"""

import argparse

from jobs.cli import Answer, Report, open_job, run_job
from jobs.planning import answer_plan
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.stages.evaluate.stage import print_results
from pipeline.stages.loop import mine_and_train
from pipeline.stages.mine.job import leave_report
from pipeline.training.planner import NEEDS_MINING
from pipeline.triplets.reader import generations


def run(config: RunConfig, flags: argparse.Namespace) -> Report | Answer:
    """The whole loop, then before and after."""
    if config.training.source not in NEEDS_MINING:
        raise InputError(f"training.source {config.training.source!r} needs no mining: use jobs.train")
    job = open_job(config)
    if flags.dry_run:
        return answer_plan(job)
    results = mine_and_train(job)
    report: Report = {"generations": generations(job.workspace).numbers()}
    if results is not None:
        print_results(results)
        report |= results.report()
    return report | {"report": leave_report(job)}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("--dry-run", action="store_true", help="only measure and say what a round would take")


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
