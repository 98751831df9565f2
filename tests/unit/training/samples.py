"""Examples, generations, networks and losses that the tests of training share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from pipeline.config import BatchConfig, LossConfig, OptimiserConfig, TrainingConfig
from pipeline.training.batches import Batch, RandomLabels
from pipeline.training.dataset import LoadedBatch, StepDataset, batches
from pipeline.training.label_index import LabelIndex
from pipeline.training.trainer import StepReport, Trainer
from pipeline.training.triplet_shard import Neighbours, TripletShard

NOT_A_FUNCTION = 7


def squared_hinge(d_ap_T: Tensor, d_an_T: Tensor, config: LossConfig) -> Tensor:
    """A loss of one's own."""
    return (d_ap_T - d_an_T + config.margin).clamp_min(0.0).square()


def unit_vectors(seed: int, num: int, dim: int = 6) -> npt.NDArray[np.float64]:
    """Random points on the sphere."""
    x = np.random.default_rng(seed).normal(size=(num, dim))
    unit: npt.NDArray[np.float64] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit


class Examples:
    """Labels of given sizes; ids have gaps, as those of a training split have."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.labels_N = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
        self.ids_N = np.arange(len(self.labels_N), dtype=np.int64) * 3
        self.index = LabelIndex(self.ids_N, self.labels_N)

    def of(self, label: int) -> npt.NDArray[np.int64]:
        """The ids of a label."""
        ids: npt.NDArray[np.int64] = self.ids_N[self.labels_N == label]
        return ids

    def label_of(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The labels of ids."""
        labels: npt.NDArray[np.int32] = self.labels_N[ids // 3]
        return labels

    def mined(
        self,
        joined: Sequence[tuple[int, int]],
        per_label: int = 1,
        generation: int = 1,
        neighbours: Mapping[int, Sequence[int]] | None = None,
    ) -> TripletShard:
        """A generation whose triplets join the label of the anchor to that of the negative, ``per_label`` each."""
        triplets = []
        for label, other in joined:
            own, others = self.of(label), self.of(other)
            pairs = [(a, p) for a in own for p in own if a != p][:per_label]
            triplets += [(a, p, others[place % len(others)]) for place, (a, p) in enumerate(pairs)]
        columns = np.array(sorted(triplets), dtype=np.int64).reshape(-1, 3)
        rows = [(label, near) for label, nearest in sorted((neighbours or {}).items()) for near in nearest]
        table = np.array(rows, dtype=np.int32).reshape(-1, 2)
        return TripletShard(
            generation,
            columns[:, 0],
            columns[:, 1],
            columns[:, 2],
            self.label_of(columns[:, 0]),
            self.label_of(columns[:, 2]),
            Neighbours(table[:, 0], table[:, 1]),
        )

    def check(self, batch: Batch, config: BatchConfig) -> None:
        """What holds for every batch that is made of whole labels."""
        assert len(np.unique(batch.ids_B)) == len(batch.ids_B) == len(batch.labels_B) <= config.num_images
        np.testing.assert_array_equal(batch.labels_B, self.label_of(batch.ids_B))
        assert np.bincount(batch.labels_B).max() <= config.images_per_label
        assert batch.ids_B.dtype == np.int64 and batch.labels_B.dtype == np.int32


def equal(a: Batch, b: Batch) -> bool:
    """Whether two batches are the same."""
    return a.selection == b.selection and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("ids_B", "labels_B", "listed_T3")
    )


CONFIG = TrainingConfig(
    num_steps=20,
    steps_per_round=10,
    batch=BatchConfig(num_labels=5, images_per_label=3),
    optimiser=OptimiserConfig(name="sgd", learning_rate=0.05),
    selection="all",
)
LABELS = np.repeat(np.arange(12), 4).astype(np.int32)
OLD = unit_vectors(7, 48, 4).astype(np.float32)
"""What an older encoder made of the inputs."""
INPUTS = np.random.default_rng(0).normal(size=(48, 10)).astype(np.float32)


def configured(**changes: Any) -> TrainingConfig:  # noqa: ANN401 — fields of all types
    """CONFIG, changed and checked."""
    return TrainingConfig.model_validate(CONFIG.model_dump() | changes)


class Small(nn.Module):
    """Two layers, normalised."""

    def __init__(self, dropout: float = 0.0, batch_norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        norm = nn.BatchNorm1d(16) if batch_norm else nn.Identity()
        self.layers = nn.Sequential(nn.Linear(10, 16), norm, nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Embeds."""
        return F.normalize(self.layers(x).float(), dim=1)


class Convolutional(nn.Module):
    """Sees images; remembers how the last ones were laid out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 4)
        self.was_channels_last = False

    def forward(self, x: Tensor) -> Tensor:
        self.was_channels_last = x.is_contiguous(memory_format=torch.channels_last)
        return F.normalize(self.head(F.relu(self.conv(x)).flatten(1)), dim=1)


class Recalling(Small):
    """Keeps what it gave."""

    def __init__(self, dropout: float) -> None:
        super().__init__(dropout)
        self.given: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.given.append(super().forward(x))
        return self.given[-1]


class Collapsed(nn.Module):
    """Maps everything to one point in the steps of which that is asked."""

    def __init__(self, *steps: range) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.ones(10))
        self.steps, self.step = [step for some in steps for step in some], -1

    def forward(self, x: Tensor) -> Tensor:
        self.step += 1
        return F.normalize(self.point + (0.0 if self.step in self.steps else 1.0) * x, dim=1)


def dataset(
    rank: int = 0,
    world_size: int = 1,
    inputs: npt.NDArray[np.float32] = INPUTS,
    config: TrainingConfig = CONFIG,
    old_ND: npt.NDArray[np.floating] | None = None,
) -> StepDataset:
    """Batches of random labels."""
    planner = RandomLabels(LabelIndex(np.arange(48), LABELS), config.batch, config.selection, seed=3)
    return StepDataset(planner, lambda example: inputs[example], rank, world_size, old_ND)


def loaded(step: int = 0) -> LoadedBatch:
    """The batch of a step."""
    return dataset()[step]


def train(trainer: Trainer, steps: range, data: StepDataset | None = None) -> list[StepReport]:
    """Takes steps."""
    return [trainer.step(batch) for batch in batches(data or dataset(), steps, 0)]


def assert_same_weights(a: nn.Module, b: nn.Module, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Compares weights and buffers; exactly, if not told otherwise."""
    torch.testing.assert_close(dict(a.state_dict()), dict(b.state_dict()), rtol=rtol, atol=atol)


def run_workers(worker: Any, world_size: int, folder: Path) -> None:  # noqa: ANN401 — torch takes any function
    """Runs ``worker(rank, world_size, folder)`` in processes that share a gloo group."""
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.unit.training.workers"])  # torch is imported once for all
    start_processes(worker, (world_size, str(folder)), nprocs=world_size, start_method="forkserver")  # type: ignore[no-untyped-call]
