"""The status that training workers report to the driver: how far they are, and an error that no retry would mend."""

import time
from dataclasses import dataclass, replace

from pipeline.errors import PipelineError


@dataclass(frozen=True)
class TrainingStatus:
    """The training run as last reported.

    Attributes:
        step: Steps taken.
        note: Loss, active share and rate, for people; or what is being waited for.
        error: Set once, when training cannot go on.
        silent_s: Seconds since the last report.
    """

    step: int
    note: str = ""
    error: PipelineError | None = None
    silent_s: float = 0.0


class TrainingMonitor:
    """An actor that workers report to, and the driver asks."""

    def __init__(self, step: int) -> None:
        """Starts at the step that training resumes from."""
        self._status, self._reported_at = TrainingStatus(step, "workers are starting"), time.monotonic()

    def update(self, step: int, note: str) -> None:
        """Takes a worker's report."""
        self._status, self._reported_at = replace(self._status, step=step, note=note), time.monotonic()

    def fail(self, error: PipelineError) -> None:
        """Takes the reason why workers stop."""
        self._status = replace(self._status, error=error)

    def status(self) -> TrainingStatus:
        """The last report."""
        return replace(self._status, silent_s=time.monotonic() - self._reported_at)
