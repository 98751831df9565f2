"""Loop: mine and train on one Ray, round after round, then show what it brought.

Stop it at any instant; the same command goes on from the newest checkpoint and publishes nothing twice.
"""

import argparse

from jobs.cli import Report, run_job
from pipeline.cluster.evaluate_stage import show
from pipeline.cluster.loop import mine_and_train
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations


def body(config: RunConfig, _: argparse.Namespace) -> Report:
    """The whole loop, then before and after."""
    if config.training.source != "mined":
        raise InputError(f"training.source {config.training.source!r} needs no mining: use jobs.train")
    workspace = Workspace.open(config.workspace, config.run)
    workspace.check_writable()
    corpus = Corpus.open(workspace)
    results = mine_and_train(config, workspace, corpus)
    report: Report = {"generations": generations(workspace).numbers()}
    if results is not None:
        show(results)
        report |= results.report()
    return report


if __name__ == "__main__":
    run_job(__doc__ or "", body)
