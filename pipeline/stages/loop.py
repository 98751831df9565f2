"""The loop: a miner that follows the checkpoints, beside a trainer that follows the generations.

The two share nothing but the workspace, so they run in one job or in two.
"""

import time
from contextlib import nullcontext

from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.runtime import metrics
from pipeline.runtime.session import required_resources, session
from pipeline.stages.embed.checkpoint import newest_checkpoint
from pipeline.stages.evaluate.context import has_test_pairs
from pipeline.stages.evaluate.stage import CheckpointRef, EvaluationResults, evaluate_checkpoints
from pipeline.stages.job import Job
from pipeline.stages.mine.job import follow_checkpoints, reported_refusal
from pipeline.stages.train.job import POLL_INTERVAL_S, nothing_to_train, print_training_progress
from pipeline.stages.train.stage import TrainingRun, check_trainable
from pipeline.storage.locks import training_lock


def mine_and_train(job: Job) -> EvaluationResults | None:
    """The whole loop in one job, and at the end the untrained encoder beside the trained one.

    Returns:
        The results of both; None where the corpus keeps nothing to evaluate on.
    """
    config, corpus = job.config, job.corpus
    check_trainable(config)
    start = newest_checkpoint(job)
    trains = start.step < config.training.num_steps
    with (
        training_lock(job.workspace) if trains else nullcontext(),
        reported_refusal(job),
        session(config.cluster, required_resources(config, pool=True, trainer=True)),
        metrics.recording(config.run, "job"),
    ):
        if trains:
            with TrainingRun(config, corpus, start.step) as run:
                _follow_training(job, run)
        else:
            log(nothing_to_train(config, start))
        if not has_test_pairs(corpus):
            log("the corpus keeps no test label with two examples: nothing is evaluated")
            return None
        last = newest_checkpoint(job)
        evaluation = config.evaluation.model_copy(update={"examples": "test"})
        on_test_labels = job.with_config(config.model_copy(update={"evaluation": evaluation}))
        try:
            refs = [CheckpointRef(config.run, 0), CheckpointRef(config.run, last.step)]
            return evaluate_checkpoints(on_test_labels, refs)
        except InputError as error:  # of what was trained nothing is wrong
            log(f"not evaluated: {error}")
            return None


def _follow_training(job: Job, run: TrainingRun) -> None:
    """Mines for every checkpoint of a training run that this job has started, until that has ended."""

    def idle(checkpoint: CheckpointManifest) -> None:
        def no_newer_checkpoint() -> bool:
            return run.running and checkpoints(job.workspace).numbers()[-1] == checkpoint.step

        training = job.config.training
        end = min(checkpoint.step + training.steps_per_round, training.num_steps)
        print_training_progress(run, checkpoint.step, end, no_newer_checkpoint)
        run.status()

    follow_checkpoints(job, idle)
    while run.running:
        run.status()
        time.sleep(POLL_INTERVAL_S)
    run.status()
