"""Statistics of a round of training: a row for each step, and their means."""

import time
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.training.trainer import StepReport
from pipeline.triplets.writer import serialise

STEPS = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("generation", pa.int64()),
        pa.field("loss", pa.float64(), nullable=False),
        pa.field("num_triplets", pa.int64(), nullable=False),
        pa.field("num_active", pa.int64(), nullable=False),
        pa.field("num_images", pa.int64(), nullable=False),
        pa.field("spread", pa.float64(), nullable=False),
        pa.field("learning_rate", pa.float64(), nullable=False),
        pa.field("wait_s", pa.float64(), nullable=False),
        pa.field("step_s", pa.float64(), nullable=False),
    ]
)
"""One row a step: the generation it trained on (null: none), what ``StepReport`` says, seconds waited for the batch and
seconds in all."""


@dataclass
class RoundStatistics:
    """Of the steps since the last checkpoint.

    Attributes:
        rows: By column of STEPS.
        staleness: The newest measurement, under the names that checkpoints carry.
        generation_wait_s: Seconds that training stood still for a generation.
        start: When the round began.
    """

    rows: dict[str, list[float | None]] = field(default_factory=lambda: {name: [] for name in STEPS.names})
    staleness: dict[str, float] = field(default_factory=dict)
    generation_wait_s: float = 0.0
    start: float = field(default_factory=time.monotonic)

    def add(self, step: int, generation: int | None, report: StepReport, wait_s: float, step_s: float) -> None:
        """Counts one step."""
        row = {"step": step, "generation": generation, **vars(report), "wait_s": wait_s, "step_s": step_s}
        for name, values in self.rows.items():
            values.append(row[name])

    @property
    def active_share(self) -> float:
        """Share of the round's triplets that were active."""
        return self._sum("num_active") / max(self._sum("num_triplets"), 1)

    def metrics(self) -> dict[str, float]:
        """Means and rates since the round began."""
        wall_s = max(time.monotonic() - self.start, 1e-9)
        training_s = max(wall_s - self.generation_wait_s, 1e-9)
        return {
            "loss": self._sum("loss") / max(len(self.rows["loss"]), 1),
            "active_share": self.active_share,
            "images_per_s": self._sum("num_images") / training_s,
            "triplets_per_image": self._sum("num_triplets") / max(self._sum("num_images"), 1),
            "data_wait_share": self._sum("wait_s") / training_s,
            "generation_wait_share": self.generation_wait_s / wall_s,
        } | self.staleness

    def summary(self) -> str:
        """For people."""
        metrics = self.metrics()
        summary = (
            f"loss {metrics['loss']:.3f}, active {metrics['active_share']:.0%}, {metrics['images_per_s']:,.0f} images/s"
        )
        if self.staleness:
            summary += f", {self.staleness['listed_in_band_share']:.0%} of the mined triplets still in band"
        return summary

    def steps(self) -> bytes:
        """The round's rows as a Parquet file."""
        return serialise(pa.table(self.rows, schema=STEPS), None)

    def _sum(self, column: str) -> float:
        return float(sum(value for value in self.rows[column] if value is not None))
