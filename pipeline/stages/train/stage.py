"""Train: one TorchTrainer for the whole run, in a task of its own, so that mining can go on beside it."""

from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group_table
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.frozen import freeze
from pipeline.encoders.registry import build_encoder
from pipeline.errors import InputError, UnavailableError
from pipeline.runtime.remote import Actor
from pipeline.runtime.resources import format_cluster
from pipeline.stages.train.fit import fit, remove_placement_groups
from pipeline.stages.train.monitor import TrainingMonitor, TrainingStatus
from pipeline.training.losses import loss_function
from pipeline.training.scalars import check_packages

_END_TIMEOUT_S = 10.0


def check_trainable(config: RunConfig) -> None:
    """Refuses to train an encoder without parameters, and with a loss, frozen parts or sinks that are not there.

    Raises:
        InputError: As it says.
    """
    check_packages(config.observe)
    loss_function(config.training.loss.name)
    encoder = build_encoder(config.encoder, config.transform)
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        raise InputError(f"encoder {config.encoder.name!r} has no parameter to train: use jobs.mine, or name a network")
    freeze(encoder, config.training.frozen)


class TrainingRun:
    """A training run in the background: a Ray task that runs the TorchTrainer, for as long as the block lasts.

    The task, Ray Train's controller and the monitor stay on the driver's own node, whose death they could not outlive
    anyway; only workers may be lost with another node, and are started again.
    """

    def __init__(self, config: RunConfig, corpus: Corpus, start_step: int) -> None:
        """Starts the workers; they resume from the newest checkpoint, whose step is ``start_step``."""
        driver_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": driver_node}
        self._groups_before = set(placement_group_table())
        (self._monitor,) = Actor.start(1, options, TrainingMonitor, start_step)
        remote_fit: Any = ray.remote(fit)
        self._finished: ray.ObjectRef[None] = remote_fit.options(**options, max_retries=0).remote(
            config, corpus.manifest.number, self._monitor
        )
        self._stall_timeout_s = config.cluster.stall_timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends what still runs: Ray may outlive this job, where the program has started it."""
        if self.running:
            ray.cancel(self._finished, force=True)  # the controller and the workers are its own, and end with it
            ray.wait([self._finished], timeout=_END_TIMEOUT_S)
            remove_placement_groups(self._groups_before)
        ray.kill(self._monitor.handle)

    def status(self) -> TrainingStatus:
        """The last report of the workers.

        Raises:
            PipelineError: Training cannot go on.
            UnavailableError: The workers failed too often, or reported nothing for ``stall_timeout_s``.
        """
        status = ray.get(self._monitor.submit(TrainingMonitor.status))
        if status.error is not None:
            raise status.error
        if not self.running:
            try:
                ray.get(self._finished)
            except RayError as error:
                raise UnavailableError(f"the training workers failed too often: {_last_line(error)}") from error
        elif status.silent_s > self._stall_timeout_s:
            raise UnavailableError(
                f"nothing was heard of the training workers for {status.silent_s:.0f} s (cluster.stall_timeout_s); the "
                f"last was {status.note!r} at step {status.step}: they are stuck or find no place, as "
                f"{format_cluster()}; look at `ray status`, or raise the limit if one step takes so long"
            )
        return status

    @property
    def running(self) -> bool:
        """Whether the workers still train."""
        finished, _ = ray.wait([self._finished], timeout=0)
        return not finished


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
