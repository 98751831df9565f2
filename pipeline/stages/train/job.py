"""Train: to the last step, with generations from another job, or with triplets that need none."""

import time
from collections.abc import Callable

from pipeline.config import RunConfig
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.progress import log, stage
from pipeline.runtime import metrics
from pipeline.runtime.actor_pool import ActorPool
from pipeline.runtime.session import required_resources, session
from pipeline.stages.embed.checkpoint import newest_checkpoint
from pipeline.stages.embed.harmonic import embed_old, lacks_old_vectors
from pipeline.stages.embed.worker import EncodeWorker
from pipeline.stages.job import Job
from pipeline.stages.train.stage import TrainingRun, check_trainable
from pipeline.storage.locks import training_lock
from pipeline.training.planner import NEEDS_MINING

POLL_INTERVAL_S = 0.3


def train_alone(job: Job) -> CheckpointManifest:
    """Trains to the last step, with generations from another job, or with none where the source needs none.

    The vectors of an old encoder come from the same job as the generations, and are made here where there is none.
    """
    config, corpus = job.config, job.corpus
    check_trainable(config)
    start = newest_checkpoint(job)
    if start.step >= config.training.num_steps:
        log(nothing_to_train(config, start))
        return start
    if config.training.source not in NEEDS_MINING and lacks_old_vectors(job, start):
        with (
            session(config.cluster, required_resources(config, pool=True, trainer=False)),
            ActorPool(config.cluster, EncodeWorker, config, corpus.manifest.number) as pool,
        ):
            embed_old(pool, job, start)
    with (
        training_lock(job.workspace),
        session(config.cluster, required_resources(config, pool=False, trainer=True)),
        metrics.recording(config.run, "job"),
        TrainingRun(config, corpus, start.step) as run,
    ):
        print_training_progress(run, start.step, config.training.num_steps, lambda: run.running)
        run.status()
    return newest_checkpoint(job)


def print_training_progress(run: TrainingRun, first: int, last: int, is_active: Callable[[], bool]) -> None:
    """Prints the progress from step ``first`` to ``last`` as long as ``is_active`` says so."""
    with stage(f"train from step {first}", last - first, "steps") as advance:
        printed = first
        while is_active():
            status = run.status()
            advance(max(status.step - printed, 0), status.note)
            printed = max(printed, status.step)
            time.sleep(POLL_INTERVAL_S)
        advance(max(min(run.status().step, last) - printed, 0))


def nothing_to_train(config: RunConfig, checkpoint: CheckpointManifest) -> str:
    """The message where the last step is taken already."""
    return (
        f"run {config.run!r} stands at step {checkpoint.step}, and training.num_steps is {config.training.num_steps}: "
        "nothing to train"
    )
