"""Fit: the task of a training run: one TorchTrainer, and another one where Ray's own gives up too early."""

import itertools
import os
import tempfile
from collections.abc import Collection
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train import ControllerError, FailureConfig, ScalingConfig
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from pipeline.config import RunConfig
from pipeline.runtime.remote import Actor
from pipeline.stages.train.monitor import TrainingMonitor
from pipeline.stages.train.worker import train_worker


def fit(config: RunConfig, corpus_number: int, monitor: Actor[TrainingMonitor]) -> None:
    """Trains to the last step; workers that die are started again, as often as ``training.max_failures`` says.

    Raises:
        ray.train.TrainingFailedError: They died too often.
    """
    groups_before = set(placement_group_table())
    for num_deaths in itertools.count(1):
        try:
            return _fit_once(config, corpus_number, monitor)
        except ControllerError as error:
            # Ray starts workers again that die while they start, or while they train. Of one that dies in between, in
            # the second that loading our code takes, Ray 2.60 believes that its own controller has failed.
            if not isinstance(error.controller_failure, RayActorError) or num_deaths > config.training.max_failures:
                raise
            remove_placement_groups(groups_before)


def remove_placement_groups(keep: Collection[str]) -> None:
    """Removes the placement groups that an ended controller left, and with them the workers that they hold.

    Those stay that this Ray job had before it.
    """
    job = ray.get_runtime_context().get_job_id()
    for group, description in placement_group_table().items():
        if group not in keep and group.endswith(job) and description["state"] != "REMOVED":  # ids end with their job's
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))


_UNUSED_CALLBACKS = (
    # The end of our job removes its placement groups. Without a dashboard the cleaner keeps the end of every training
    # waiting for 12 s, and outlives a job that is killed.
    PlacementGroupCleanerCallback,
    # Batches come from the workspace, so the actor that would manage Ray's datasets is a process for nothing.
    DatasetsCallback,
)


class _Trainer(TorchTrainer):
    """Without the processes of Ray Train that this training has no use for."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]  # the stubs are of an older Train
        return [callback for callback in callbacks if not isinstance(callback, _UNUSED_CALLBACKS)]


def _fit_once(config: RunConfig, corpus_number: int, monitor: Actor[TrainingMonitor]) -> None:
    training, cluster = config.training, config.cluster
    # Ray's watcher of preempted nodes would tell workers, which do not ask: what is lost is resumed from a checkpoint.
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    resources = {"CPU": cluster.cpus_per_trainer, "GPU": cluster.gpus_per_trainer}
    with tempfile.TemporaryDirectory(prefix="motherlode-ray-train-", ignore_cleanup_errors=True) as results:
        trainer = _Trainer(
            train_worker,
            train_loop_config={"config": config.model_dump(mode="json"), "corpus": corpus_number, "monitor": monitor},
            torch_config=TorchConfig(backend="nccl" if training.device == "cuda" else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=training.num_workers,
                use_gpu=training.device == "cuda",
                resources_per_worker={name: amount for name, amount in resources.items() if amount},
            ),
            # Ray's own results folder holds nothing of ours: checkpoints go to the workspace.
            run_config=RayRunConfig(
                name=f"motherlode-{config.run}-{os.getpid()}",
                storage_path=results,
                failure_config=FailureConfig(max_failures=training.max_failures),
            ),
        )
        trainer.fit()
