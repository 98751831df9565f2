"""Mine: embed the corpus with the newest checkpoint, mine triplets over all of it, publish one generation.

If a generation mined from this checkpoint, corpus and mining config stands already, there is nothing to do.
"""

import argparse

from jobs.cli import Answer, Report, open_job, run_job
from jobs.planning import answer_plan
from pipeline.config import RunConfig
from pipeline.stages.mine.job import mine_once, mine_watch


def run(config: RunConfig, flags: argparse.Namespace) -> Report | Answer:
    """One refresh, or one for each checkpoint with --watch."""
    job = open_job(config)
    if flags.dry_run:
        return answer_plan(job)
    if flags.watch:
        return {"generations": mine_watch(job)}
    generation, is_new = mine_once(job)
    return {"published": is_new, "generation": generation.model_dump(mode="json")}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument(
        "--watch", action="store_true", help="stay, and refresh for every checkpoint until training has ended"
    )
    parser.add_argument("--dry-run", action="store_true", help="only measure and say what it would take, as jobs.plan")


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
