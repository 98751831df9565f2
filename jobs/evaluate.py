"""Evaluate: how well checkpoints tell the test labels apart; none of those was mined or trained on.

Writes VAL at the configured FARs, ROC AUC and recall@1 as JSON, and a picture of the ROC and the distances.
"""

import argparse

from jobs.cli import Report, open_workspace, run_job
from pipeline.cluster.evaluate_stage import evaluate_alone, parse_checkpoint, show
from pipeline.config import RunConfig


def body(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Evaluates the named checkpoints side by side."""
    workspace, corpus = open_workspace(config)
    wanted = [parse_checkpoint(workspace, text) for text in flags.checkpoints or [f"{config.run}:0", config.run]]
    results = evaluate_alone(config, workspace, corpus, wanted)
    show(results)
    return results.report()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        metavar="RUN[:STEP]",
        help="which (default: untrained and newest of --run)",
    )


if __name__ == "__main__":
    run_job(__doc__ or "", body, add_flags)
