"""Telemetry: the first training worker reports its steps to Prometheus, TensorBoard and MLflow."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from pipeline.config import RunConfig
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.mining.staleness import Staleness
from pipeline.runtime import metrics
from pipeline.stages.train.segments import Segment
from pipeline.training.scalars import Scalars, open_scalars
from pipeline.training.trainer import StepReport


class Telemetry:
    """A context around the steps of one worker; only the first worker reports."""

    def __init__(self, config: RunConfig, checkpoint: CheckpointManifest, is_first: bool) -> None:
        """Opens nothing yet; training resumes from ``checkpoint``."""
        self._config, self._checkpoint, self._is_first = config, checkpoint, is_first
        self._scalars: list[Scalars] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Opens the sinks.

        Raises:
            InputError: One cannot be had.
            UnavailableError: One does not answer.
        """
        if self._is_first:
            self._scalars = open_scalars(self._config, self._checkpoint.step)
            self._open.enter_context(metrics.recording(self._config.run, "trainer"))
            metrics.TRAINER_STARTS.add()
            metrics.CHECKPOINT_STEP.set(self._checkpoint.step)
            metrics.STEP.set(self._checkpoint.step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            for sink in self._scalars:
                sink.close(finished=error is None)

    def wait_timer(self) -> Callable[[], None]:
        """A function to call again and again while training waits for a generation, and once after it."""
        return metrics.stopwatch(metrics.GENERATION_WAIT_SECONDS)

    def step(self, step: int, segment: Segment, report: StepReport, wait_s: float, step_s: float) -> None:
        """Reports a step, which ``step`` counts already; ``wait_s`` of its seconds were waited for the batch."""
        values = {
            "loss": report.loss,
            "active_share": report.num_active / max(report.num_triplets, 1),
            "learning_rate": report.learning_rate,
        }
        if segment.generation is not None and segment.mined_from is not None:
            values |= {"generation_in_use": segment.generation, "staleness_steps": step - segment.mined_from}
        self._set({"step": step} | values)
        metrics.IMAGES_TRAINED.add(report.num_images)
        metrics.TRIPLETS_TRAINED.add(report.num_triplets)
        metrics.STEP_SECONDS.add(step_s)
        metrics.BATCH_WAIT_SECONDS.add(wait_s)
        for sink in self._scalars:
            sink.add(step, values | {"images_per_s": report.num_images / max(step_s, 1e-9)})

    def staleness(self, step: int, found: Staleness) -> None:
        """Reports the staleness of the generation in use after a step."""
        values = {"listed_active_share": found.active_share, "in_band_share": found.in_band_share}
        self._set(values)
        for sink in self._scalars:
            sink.add(step, values)

    def checkpoint(self, checkpoint: CheckpointManifest) -> None:
        """Reports a published checkpoint."""
        metrics.CHECKPOINT_STEP.set(checkpoint.step)
        for sink in self._scalars:
            sink.checkpoint(checkpoint.step, checkpoint.weights_digest)

    def _set(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            _GAUGES[name].set(value)


_GAUGES = {
    gauge.name: gauge
    for gauge in (
        metrics.STEP,
        metrics.LOSS,
        metrics.ACTIVE_SHARE,
        metrics.LEARNING_RATE,
        metrics.GENERATION_IN_USE,
        metrics.STALENESS_STEPS,
        metrics.LISTED_ACTIVE_SHARE,
        metrics.IN_BAND_SHARE,
    )
}
"""By the names that TensorBoard and MLflow show too."""
