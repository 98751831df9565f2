"""Train: take up the newest checkpoint and train to the last step, publishing a checkpoint every round.

With training.source mined, the generations come from jobs.mine (--watch) in another shell or on another cluster.
"""

import argparse

from jobs.cli import Report, run_job
from pipeline.cluster.loop import train_alone
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.progress import say
from pipeline.storage.workspace import Workspace


def body(config: RunConfig, _: argparse.Namespace) -> Report:
    """Trains to the last step."""
    workspace = Workspace.open(config.workspace, config.run)
    workspace.check_writable()
    corpus = Corpus.open(workspace)
    checkpoint = train_alone(config, workspace, corpus)
    say(f"run {config.run}: checkpoint {checkpoint.step} of {config.training.num_steps} steps stands")
    return {"checkpoint": checkpoint.model_dump(mode="json")}


if __name__ == "__main__":
    run_job(__doc__ or "", body)
