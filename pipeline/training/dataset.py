"""Batches as a torch dataset whose index is the step: order, resume and decode-ahead come from torch's loader."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.config.training import Selection
from pipeline.errors import InputError, PipelineError
from pipeline.training.augment import Augment
from pipeline.training.batches import BatchPlanner
from pipeline.training.gather import rows_of

LoadExample = Callable[[int], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class LoadedBatch:
    """What a worker needs for one step.

    Attributes:
        step: Number of the step.
        inputs: This worker's rows of the batch, decoded, float32, shape (b, C, H, W) or (b, D).
        labels_B: Label codes of the whole batch, int32, shape (B,).
        selection: Which triplets count.
        listed_T3: Listed triplets as rows of the whole batch, or None.
        old_BD: Vectors of the whole batch by an older encoder, float32, shape (B, D), or None.
    """

    step: int
    inputs: Tensor
    labels_B: Tensor
    selection: Selection
    listed_T3: Tensor | None
    old_BD: Tensor | None = None

    def pin_memory(self) -> "LoadedBatch":
        """Called by torch's loader, so that a GPU can fetch the inputs by itself."""
        return replace(self, inputs=self.inputs.pin_memory())


class StepDataset(Dataset[LoadedBatch]):
    """Item ``step`` is the batch of that step. Each image is decoded once, by the worker that forwards it."""

    def __init__(
        self,
        planner: BatchPlanner,
        load: LoadExample,
        rank: int,
        world_size: int,
        old_ND: npt.NDArray[np.floating] | None = None,
        augment: Augment | None = None,
    ) -> None:
        """Takes what plans, and what decodes an example by its id.

        ``old_ND`` are vectors by an older encoder, at the place of their example_id, shape (N, D).
        """
        self._planner, self._load, self._rank, self._world_size = planner, load, rank, world_size
        self._old_ND, self._augment = old_ND, augment

    def __getitem__(self, step: int) -> LoadedBatch:
        """The batch of a step."""
        batch = self._planner.plan(step)
        own = batch.ids_B[rows_of(self._rank, self._world_size, len(batch.ids_B))]
        if len(own) == 0:
            raise InputError(
                f"the batch of step {step} has {len(batch.ids_B)} images for {self._world_size} workers: "
                "lower training.num_workers"
            )
        inputs = np.stack([self._input(step, int(example)) for example in own])
        listed = None if batch.listed_T3 is None else torch.from_numpy(batch.listed_T3)
        old = None if self._old_ND is None else torch.from_numpy(self._old_ND[batch.ids_B].astype(np.float32))
        labels = torch.from_numpy(batch.labels_B)
        return LoadedBatch(step, torch.from_numpy(inputs), labels, batch.selection, listed, old)

    def _input(self, step: int, example: int) -> npt.NDArray[np.float32]:
        loaded = self._load(example)
        return loaded if self._augment is None else self._augment(loaded, step, example)


def batches(dataset: StepDataset, steps: range, decode_workers: int, pin_memory: bool = False) -> Iterator[LoadedBatch]:
    """The batches of consecutive steps; ``decode_workers`` processes plan and decode ahead, 0: it is done in line."""
    loader: DataLoader[LoadedBatch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=steps,
        num_workers=decode_workers,
        pin_memory=pin_memory,
    )
    try:
        yield from loader if decode_workers == 0 else _one_ahead(iter(loader))
    except PipelineError as error:
        if decode_workers == 0:
            raise
        # torch puts the traceback of a decoding process before the sentence, which is the last line. Its own traceback
        # is a cycle that holds the loader: torch would end the decoding processes late, and wait 5 s for each.
        sentence = str(error).strip().splitlines()[-1].partition(": ")[2]
        raise type(error)(sentence) from error.with_traceback(None)


def _one_ahead(items: Iterator[LoadedBatch]) -> Iterator[LoadedBatch]:
    """Fetches the next batch from the decoding processes while the present one is trained on."""
    with ThreadPoolExecutor(1) as fetcher:
        coming = fetcher.submit(next, items, None)
        while (batch := coming.result()) is not None:
            coming = fetcher.submit(next, items, None)
            yield batch
