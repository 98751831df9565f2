"""Batches as a torch dataset whose index is the step: order, resume and decode-ahead come from torch's loader."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.config.training import Selection
from pipeline.errors import InputError, PipelineError
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
    """

    step: int
    inputs: Tensor
    labels_B: Tensor
    selection: Selection
    listed_T3: Tensor | None


class StepDataset(Dataset[LoadedBatch]):
    """Item ``step`` is the batch of that step. Each image is decoded once, by the worker that forwards it."""

    def __init__(self, planner: BatchPlanner, load: LoadExample, rank: int, world_size: int) -> None:
        """Takes what plans and what decodes.

        Args:
            planner: Names the images of a step.
            load: example_id to input array.
            rank: This worker.
            world_size: Workers that share a batch.
        """
        self._planner, self._load, self._rank, self._world_size = planner, load, rank, world_size

    def __getitem__(self, step: int) -> LoadedBatch:
        """The batch of a step."""
        batch = self._planner.plan(step)
        own = batch.ids_B[rows_of(self._rank, self._world_size, len(batch.ids_B))]
        if len(own) == 0:
            raise InputError(
                f"the batch of step {step} has {len(batch.ids_B)} images for {self._world_size} workers: "
                "lower training.num_workers"
            )
        inputs = np.stack([self._load(int(example)) for example in own])
        listed = None if batch.listed_T3 is None else torch.from_numpy(batch.listed_T3)
        return LoadedBatch(step, torch.from_numpy(inputs), torch.from_numpy(batch.labels_B), batch.selection, listed)


def batches(dataset: StepDataset, steps: range, decode_workers: int, pin_memory: bool = False) -> Iterator[LoadedBatch]:
    """The batches of consecutive steps.

    Args:
        dataset: Gives the batch of a step.
        steps: Which steps.
        decode_workers: Processes that plan and decode ahead; 0: in line.
        pin_memory: Put inputs where a GPU can fetch them by itself.
    """
    loader: DataLoader[LoadedBatch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=steps,
        num_workers=decode_workers,
        pin_memory=pin_memory,
    )
    try:
        yield from loader
    except PipelineError as error:
        if decode_workers == 0:
            raise
        # torch puts the traceback of a decoding process before the sentence, which is the last line.
        raise type(error)(str(error).strip().splitlines()[-1].partition(": ")[2]) from error
