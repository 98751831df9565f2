"""A plan beside what happened."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Compared:
    """A stage as it was planned and as it was measured.

    Attributes:
        stage: Its name.
        planned_s: Expected.
        measured_s: Taken.
    """

    stage: str
    planned_s: float
    measured_s: float

    @property
    def ratio(self) -> float:
        """Planned over measured."""
        return self.planned_s / max(self.measured_s, 1e-9)
