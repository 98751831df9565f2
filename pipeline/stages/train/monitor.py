"""What the training workers tell the driver: how far they are, and an error that no retry would mend."""

import time
from dataclasses import dataclass, replace

from pipeline.errors import PipelineError


@dataclass(frozen=True)
class TrainingStatus:
    """The training run as last heard.

    Attributes:
        step: Steps taken.
        note: Loss, active share and rate, for people; or what is being waited for.
        error: Set once, when training cannot go on.
        silent_s: Seconds since the workers told anything.
    """

    step: int
    note: str = ""
    error: PipelineError | None = None
    silent_s: float = 0.0


class TrainingMonitor:
    """A mailbox between processes; made an actor by the train stage."""

    def __init__(self, step: int) -> None:
        """Starts at the step that training resumes from."""
        self._status, self._heard = TrainingStatus(step, "workers are starting"), time.monotonic()

    def update(self, step: int, note: str) -> None:
        """Workers tell where they are."""
        self._status, self._heard = replace(self._status, step=step, note=note), time.monotonic()

    def fail(self, error: PipelineError) -> None:
        """Workers tell why they stop."""
        self._status = replace(self._status, error=error)

    def status(self) -> TrainingStatus:
        """The driver asks."""
        return replace(self._status, silent_s=time.monotonic() - self._heard)
