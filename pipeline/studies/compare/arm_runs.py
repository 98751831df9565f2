"""Runs of arms, of which a comparison or a sweep consists: each is trained once, and its result stored under a key."""

import hashlib
import json
from collections.abc import Sequence

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import weights_digest
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.errors import InputError
from pipeline.failpoints import Failpoint, reach
from pipeline.progress import stage
from pipeline.runtime.actor_pool import ActorPool, Task
from pipeline.runtime.session import required_resources, session
from pipeline.stages.evaluate.context import has_test_pairs
from pipeline.stages.job import Job
from pipeline.stages.train.stage import check_trainable
from pipeline.storage.leases import acquire_pins
from pipeline.storage.workspace import Workspace
from pipeline.studies.compare.arm_worker import ArmTask, ArmWorker
from pipeline.studies.compare.results import ArmResult

_LONGEST_ARM_S = 7 * 86400.0  # an arm is one task: that none has finished for a while is no sign of a hang


def check_can_train_arms(config: RunConfig, corpus: Corpus, job: str) -> None:
    """Raises InputError for what would stop the first arm, or leave nothing to evaluate; ``job`` is for the message."""
    check_trainable(config)
    if config.harmonic is not None:
        raise InputError(f"{job} trains each run alone: take harmonic out of the config")
    if not has_test_pairs(corpus):
        raise InputError(
            "the corpus keeps no test label with two examples: prepare it with a larger corpus.test_fraction"
        )


def with_budget(config: RunConfig, num_images: int, seed: int) -> RunConfig:
    """The same run with this seed, and as many steps as forward so many images."""
    num_steps = max(1, num_images // config.training.batch.num_images)
    training = config.training.model_copy(update={"num_steps": num_steps})
    return config.model_copy(update={"training": training, "seed": seed})


def pretrained_digest(job: Job) -> str | None:
    """Of the weights that ``encoder.pretrained`` names, which may change under that name; None where it names none."""
    config = job.config
    if config.encoder.pretrained is None:
        return None
    start = pretrained_encoder(config.encoder, config.transform, config.seed, job.workspace, job.corpus.fingerprint)
    return weights_digest(config.encoder, start.state_dict())


def make_task(
    arm: str, config: RunConfig, corpus: Corpus, num_points: int, num_labels: int | None, start: str | None
) -> ArmTask:
    """A task, see there, with the digest of everything that shapes its result; ``start``: the pretrained weights'."""
    shapes = (config.transform, config.encoder, config.embed, config.mining, config.training, config.evaluation)
    document = [part.model_dump(mode="json") for part in shapes]
    text = json.dumps([config.seed, document, corpus.fingerprint, num_points, num_labels, start], sort_keys=True)
    return ArmTask(arm, config, hashlib.sha256(text.encode()).hexdigest(), num_points, num_labels)


def train_missing(job: Job, folder: str, tasks: Sequence[ArmTask], title: str) -> list[ArmResult]:
    """Trains the tasks that have no result by their digest yet, and stores each result as soon as it is there.

    Returns:
        The results, in the order of the tasks.
    """
    config, workspace, corpus = job.config, job.workspace, job.corpus
    keys = [f"{folder}/results/{task.arm}-{task.config.seed}-{task.digest[:16]}.json" for task in tasks]
    missing = [
        Task(key, ArmWorker.train, task)
        for key, task in zip(keys, tasks, strict=True)
        if not workspace.store.exists(key)
    ]
    if missing:
        cluster = config.cluster.model_copy(update={"stall_timeout_s": _LONGEST_ARM_S})
        with (
            acquire_pins(workspace.store, title, corpus.manifest_key).renewing(),
            session(cluster, required_resources(config, pool=True, trainer=False)),
            ActorPool(cluster, ArmWorker, config, corpus.manifest.number) as pool,
            stage(title, len(missing), "runs") as advance,
        ):
            for key, result in pool.run(missing):
                reach(Failpoint.RUN_TRAINED)
                workspace.store.put(key, result.encode())
                advance(1, _format_result(ArmResult.model_validate_json(result)))
    return [_load(workspace, key) for key in keys]


def load_results(workspace: Workspace, folder: str) -> list[ArmResult]:
    """All results of a comparison or a sweep, whatever their settings; none where there is no such folder."""
    return [_load(workspace, key) for key in workspace.store.list(f"{folder}/results")]


def _load(workspace: Workspace, key: str) -> ArmResult:
    return ArmResult.model_validate_json(workspace.store.get(key))


def _format_result(result: ArmResult) -> str:
    values = ", ".join(f"{name} {value:.3f}" for name, value in result.final.metrics.items())
    return f"{result.arm} (seed {result.seed}): {values}"
