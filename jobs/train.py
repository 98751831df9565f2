"""Train: take up the newest checkpoint and train to the last step, publishing a checkpoint every round.

With training.source mined, the generations come from jobs.mine (--watch) in another shell or on another cluster.
"""

import argparse

from jobs.cli import Report, open_job, run_job
from pipeline.config import RunConfig
from pipeline.progress import log
from pipeline.stages.train.job import train_alone


def run(config: RunConfig, _: argparse.Namespace) -> Report:
    """Trains to the last step."""
    job = open_job(config)
    checkpoint = train_alone(job)
    log(f"run {config.run}: checkpoint {checkpoint.step} of {config.training.num_steps} steps stands")
    return {"checkpoint": checkpoint.model_dump(mode="json")}


if __name__ == "__main__":
    run_job(__doc__ or "", run)
