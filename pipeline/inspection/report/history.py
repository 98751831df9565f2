"""The history of a run: its training, evaluations and refusals."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.encoders.checkpoints import STEPS, CheckpointManifest, checkpoints
from pipeline.errors import CorruptDataError
from pipeline.storage.tombstones import read_history
from pipeline.storage.workspace import Workspace
from pipeline.triplets.refusals import Refusal, read_refusals
from pipeline.triplets.schema import GenerationManifest

MAX_STEP_BINS = 240
"""Most points of a learning curve, whatever the run's length."""
Evaluations = Mapping[int, Mapping[str, float]]  # metrics by step and name
_EVALUATION = re.compile(r"(\d{9})/(?:retrieval|verification)\.json")


def refusals_since(workspace: Workspace, newest: GenerationManifest | None) -> list[Refusal]:
    """Refusals since the newest generation, the newest first: of later checkpoints, or of the same one mined again.

    Raises:
        CorruptDataError: A refusal is not what the audit writes.
    """
    refusals = [
        refusal
        for refusal in read_refusals(workspace)
        if newest is None or refusal.step > newest.checkpoint_step or refusal.created_at > newest.created_at
    ]
    return sorted(refusals, key=lambda refusal: (-refusal.step, refusal.created_at))


def read_evaluations(workspace: Workspace) -> Evaluations:
    """Figures of merit by step, of the run's checkpoints that were evaluated.

    Raises:
        CorruptDataError: A result is no JSON object.
    """
    folder = workspace.evaluation_prefix(0).rpartition("/")[0]
    evaluations: dict[int, dict[str, float]] = {}
    for key in workspace.store.list(folder):
        match = _EVALUATION.fullmatch(key.removeprefix(f"{folder}/"))
        if match is None:
            continue
        try:
            document = json.loads(workspace.store.get(key))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CorruptDataError(
                f"{key!r} in {workspace.store.uri} is not a result of jobs.evaluate: restore it, or remove it"
            )
        numbers = {name: float(value) for name, value in document.items() if type(value) in (int, float)}
        evaluations.setdefault(int(match[1]), {}).update(numbers)
    return dict(sorted(evaluations.items()))


@dataclass(frozen=True)
class BinnedSeries:
    """A quantity over the steps, in equal bins. S: bins with a step.

    Attributes:
        step_S: Middle of each bin.
        mean_S: Mean of the bin's finite values; NaN where there are none.
        low_S: The smallest of them.
        high_S: The largest of them.
        num_not_finite: Steps, in all, whose value is not finite.
    """

    step_S: npt.NDArray[np.float64]
    mean_S: npt.NDArray[np.float64]
    low_S: npt.NDArray[np.float64]
    high_S: npt.NDArray[np.float64]
    num_not_finite: int


class _SeriesBinner:
    """Sums a quantity by bin, in memory that does not grow with the run."""

    def __init__(self, last_step: int) -> None:
        self._width = max(1, -(-last_step // MAX_STEP_BINS))
        num = last_step // self._width + 1
        self._sum, self._count = np.zeros(num), np.zeros(num, dtype=np.int64)
        self._low, self._high = np.full(num, np.inf), np.full(num, -np.inf)
        self._has_step = np.zeros(num, dtype=np.bool_)
        self._num_not_finite = 0

    def add(self, step_T: npt.NDArray[np.int64], value_T: npt.NDArray[np.float64]) -> None:
        bins = step_T // self._width
        self._has_step[bins] = True
        finite = np.isfinite(value_T)
        self._num_not_finite += int((~finite).sum())
        bins, value = bins[finite], value_T[finite]
        np.add.at(self._sum, bins, value)
        np.add.at(self._count, bins, 1)
        np.minimum.at(self._low, bins, value)
        np.maximum.at(self._high, bins, value)

    def series(self) -> BinnedSeries:
        bins = self._has_step
        with np.errstate(invalid="ignore"):
            mean = self._sum[bins] / self._count[bins]
        middle = np.flatnonzero(bins) * self._width + 0.5 * (self._width - 1)
        return BinnedSeries(middle.astype(np.float64), mean, self._low[bins], self._high[bins], self._num_not_finite)


@dataclass(frozen=True)
class TrainingHistory:
    """The checkpoints of a run by step, and the loss and the active share of a batch's triplets over the steps."""

    manifests: Sequence[CheckpointManifest]
    loss: BinnedSeries
    active_share: BinnedSeries

    def metric(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of the checkpoints that have a metric."""
        return [
            (float(manifest.step), manifest.metrics[name]) for manifest in self.manifests if name in manifest.metrics
        ]


def read_training(workspace: Workspace) -> TrainingHistory:
    """Reads the steps of all checkpoints, one part at a time.

    Raises:
        CorruptDataError: A part is not what its manifest records.
    """
    dataset = checkpoints(workspace)
    manifests = read_history(dataset)  # the steps of those that were pruned stay
    last_step = manifests[-1].step if manifests else 0
    loss, active_share = _SeriesBinner(last_step), _SeriesBinner(last_step)
    for manifest in manifests:
        for part in manifest.parts_of(STEPS):
            table = pq.read_table(pa.BufferReader(dataset.read_part(part)))
            step = table["step"].to_numpy()
            loss.add(step, table["loss"].to_numpy())
            num_triplets = table["num_triplets"].to_numpy()
            # A batch without triplets has no active triplet.
            active_share.add(step, table["num_active"].to_numpy() / np.maximum(num_triplets, 1))
    return TrainingHistory(manifests, loss.series(), active_share.series())
