"""What a run has left behind so far: generations, training, evaluations, refusals."""

import json
import re
from collections.abc import Sequence
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

MAX_STRETCHES = 240
"""Points of a learning curve, whatever the run's length."""
_EVALUATION = re.compile(r"(\d{9})/(?:retrieval|verification)\.json")


def standing_refusals(workspace: Workspace, newest: GenerationManifest | None) -> list[Refusal]:
    """Refusals since the newest generation, the newest first: of later checkpoints, or of the same one mined again.

    Raises:
        CorruptDataError: One is not what the audit writes.
    """
    refusals = [
        one
        for one in read_refusals(workspace)
        if newest is None or one.step > newest.checkpoint_step or one.created_at > newest.created_at
    ]
    return sorted(refusals, key=lambda one: (-one.step, one.created_at))


def read_evaluations(workspace: Workspace) -> dict[int, dict[str, float]]:
    """Figures of merit by step, of the run's checkpoints that were evaluated.

    Raises:
        CorruptDataError: A result is no JSON object.
    """
    folder = workspace.evaluation_prefix(0).rpartition("/")[0]
    found: dict[int, dict[str, float]] = {}
    for key in workspace.store.list(folder):
        match = _EVALUATION.fullmatch(key.removeprefix(f"{folder}/"))
        if match is None:
            continue
        try:
            document = json.loads(workspace.store.get(key))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise _corrupt(workspace, key, "result of jobs.evaluate")
        numbers = {name: float(value) for name, value in document.items() if type(value) in (int, float)}
        found.setdefault(int(match[1]), {}).update(numbers)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Stretches:
    """A quantity over the steps, in equal stretches of them. S: stretches with a step.

    Attributes:
        step_S: Middle of each.
        mean_S: Mean of the steps in it; NaN where none of them is a number.
        low_S: Smallest.
        high_S: Largest.
        num_not_finite: Steps, in all, whose quantity is no number.
    """

    step_S: npt.NDArray[np.float64]
    mean_S: npt.NDArray[np.float64]
    low_S: npt.NDArray[np.float64]
    high_S: npt.NDArray[np.float64]
    num_not_finite: int


class _Tally:
    """Sums a quantity by stretch, in memory that does not grow with the run."""

    def __init__(self, last_step: int) -> None:
        self._width = max(1, -(-last_step // MAX_STRETCHES))
        num = last_step // self._width + 1
        self._sum, self._count = np.zeros(num), np.zeros(num, dtype=np.int64)
        self._low, self._high = np.full(num, np.inf), np.full(num, -np.inf)
        self._is_there = np.zeros(num, dtype=np.bool_)
        self._num_not_finite = 0

    def add(self, step_T: npt.NDArray[np.int64], value_T: npt.NDArray[np.float64]) -> None:
        place = step_T // self._width
        self._is_there[place] = True
        finite = np.isfinite(value_T)
        self._num_not_finite += int((~finite).sum())
        place, value = place[finite], value_T[finite]
        np.add.at(self._sum, place, value)
        np.add.at(self._count, place, 1)
        np.minimum.at(self._low, place, value)
        np.maximum.at(self._high, place, value)

    def stretches(self) -> Stretches:
        there = self._is_there
        with np.errstate(invalid="ignore"):
            mean = self._sum[there] / self._count[there]
        middle = np.flatnonzero(there) * self._width + 0.5 * (self._width - 1)
        return Stretches(middle.astype(np.float64), mean, self._low[there], self._high[there], self._num_not_finite)


@dataclass(frozen=True)
class Training:
    """How a run's training went.

    Attributes:
        manifests: Its checkpoints, by step.
        loss: Over the steps.
        active_share: Of a batch's triplets, over the steps.
    """

    manifests: Sequence[CheckpointManifest]
    loss: Stretches
    active_share: Stretches

    def metric(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of the checkpoints that carry a metric."""
        return [(float(one.step), one.metrics[name]) for one in self.manifests if name in one.metrics]


def read_training(workspace: Workspace) -> Training:
    """Reads the steps of all checkpoints, one part at a time.

    Raises:
        CorruptDataError: A part is not what its manifest records.
    """
    dataset = checkpoints(workspace)
    manifests = read_history(dataset)  # the steps of those that were pruned stay
    last_step = manifests[-1].step if manifests else 0
    loss, active_share = _Tally(last_step), _Tally(last_step)
    for manifest in manifests:
        for part in manifest.parts_of(STEPS):
            table = pq.read_table(pa.BufferReader(dataset.read_part(part)))
            step = table["step"].to_numpy()
            loss.add(step, table["loss"].to_numpy())
            num_triplets = table["num_triplets"].to_numpy()
            # A batch without a triplet has none that is active.
            active_share.add(step, table["num_active"].to_numpy() / np.maximum(num_triplets, 1))
    return Training(manifests, loss.stretches(), active_share.stretches())


def _corrupt(workspace: Workspace, key: str, what: str) -> CorruptDataError:
    return CorruptDataError(f"{key!r} in {workspace.store.uri} is not a {what}: restore it, or remove it")
