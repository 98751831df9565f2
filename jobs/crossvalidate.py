"""Crossvalidate: LFW's View 2 with models trained by the loop, each without the people that it is tested on.

Stop it at any time; the same command goes on.
"""

import argparse

from jobs.cli import Report, run_job
from pipeline.config import RunConfig
from pipeline.progress import log
from pipeline.studies.crossvalidate import crossvalidate


def run(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Trains and scores all folds."""
    done = crossvalidate(config, flags.folds_per_model)
    settings = {
        "image-restricted": done.view2.restricted,
        "unrestricted": done.view2.unrestricted,
        "image-restricted, int8 embeddings": done.int8.restricted,
    }
    for name, score in settings.items():
        if score is not None:
            log(f"LFW View 2, {name}: accuracy {score.accuracy:.4f} ± {score.standard_error or 0:.4f}")
    return done.report()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("--folds-per-model", type=int, default=2, help="folds that a model is kept from (default 2)")


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
