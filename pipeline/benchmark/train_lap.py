"""Contestants of the training benchmark: a bare loop, and the product's own way from stored images to an update."""

import tempfile
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.benchmark.examples import Examples
from pipeline.benchmark.machine import deterministic, finish, threads
from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.encoders.registry import initial_encoder
from pipeline.errors import InputError
from pipeline.stages.train.encoder import lay_out
from pipeline.training.dataset import LoadedBatch, StepDataset, batches
from pipeline.training.loss import Objective
from pipeline.training.optimiser import make_optimiser
from pipeline.training.planner import make_planner
from pipeline.training.trainer import StepReport, Trainer, TrainingFailedError
from pipeline.training.triplet_shard import TripletShard

_LOSSES = 5
_PLANNED_STEPS = 5
_BARE_BATCHES = 4  # as many as keep one from staying in the processor's cache


@dataclass(frozen=True)
class Lap:
    """What a contestant did in a round: means of the steps that count, which follow the first.

    Attributes:
        step_s: Seconds, waiting for the batch included.
        num_images: Images forwarded.
        wait_s: Seconds of ``step_s`` that passed before the batch was there.
        plan_s: Seconds that planning a batch takes, wherever it is planned.
        loss_s: Seconds of distances, selection, loss and its gradient.
        start_s: Seconds until the first step's batch was there: starting processes, decoding the first images.
        num_valid: Triplets that a batch lists, or that its labels allow.
        num_triplets: Those that counted.
        num_active: Of these, those within the margin.
    """

    step_s: float
    num_images: float
    wait_s: float = 0.0
    plan_s: float = 0.0
    loss_s: float = 0.0
    start_s: float = 0.0
    num_valid: float = 0.0
    num_triplets: float = 0.0
    num_active: float = 0.0


def make_encoder(config: RunConfig) -> nn.Module:
    """A fresh encoder as a training worker prepares it, with the same weights each time."""
    encoder = initial_encoder(config.encoder, config.transform, config.seed)
    return lay_out(encoder, config.training).to(config.training.device)


class BareLoop:
    """Forward, a sum, backward and the optimiser's step, on random images that are on the device already."""

    def __init__(self, config: RunConfig, num_steps: int) -> None:
        """Prepares encoder, optimiser and images."""
        self._training, self._num_steps = config.training, num_steps
        self._encoder = make_encoder(config).train()
        trained = (parameter for parameter in self._encoder.parameters() if parameter.requires_grad)
        self._optimiser = make_optimiser(config.training.optimiser, trained)
        transform, device = config.transform, config.training.device
        shape = (config.training.batch.num_images, transform.channels, transform.height, transform.width)
        layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
        self._batches = [torch.rand(shape).to(device, memory_format=layout) * 2 - 1 for _ in range(_BARE_BATCHES)]
        self._directions = torch.randn(shape[0], config.encoder.embedding_dim).to(device)

    def lap(self) -> Lap:
        """Takes the steps of a round."""
        finish(self._training.device)
        start = time.perf_counter()
        for step in range(self._num_steps):
            self._step(self._batches[step % _BARE_BATCHES])
        finish(self._training.device)
        seconds = time.perf_counter() - start
        return Lap(seconds / self._num_steps, len(self._directions))

    def _step(self, inputs: Tensor) -> None:
        training, size = self._training, self._training.images_per_forward or len(inputs)
        self._optimiser.zero_grad(set_to_none=True)
        for piece, directions in zip(torch.split(inputs, size), torch.split(self._directions, size), strict=True):
            with torch.autocast(training.device, torch.bfloat16, enabled=training.precision == "bfloat16"):
                embeddings = self._encoder(piece)
            (embeddings.float() * directions).sum().backward()
        self._optimiser.step()


class Product:
    """What a training worker does between two refreshes, from the first batch's plan to the last update."""

    def __init__(
        self, examples: Examples, mined: TripletShard | None, num_steps: int, decode_workers: int, decoded: bool
    ) -> None:
        """Prepares encoder, trainer and planner; steps go on from lap to lap.

        ``mined`` is for the sources that want a generation; ``decoded`` takes images that were decoded before.
        """
        config = examples.config
        # However the embeddings lie after so few steps: what is measured is how fast they are computed.
        training = config.training.model_copy(update={"min_spread": 0.0})
        self._config, self._num_steps, self._decode_workers, self._step = config, num_steps, decode_workers, 0
        self._encoder = make_encoder(config)
        self._trainer = Trainer(self._encoder, training, config.seed, band=config.mining.band)
        self._planner = make_planner(training, examples.label_index, config.seed, 0, mined)
        self._dataset = StepDataset(self._planner, examples.recall if decoded else examples.decode, 0, 1)

    def lap(self) -> Lap:
        """Takes the steps of a round.

        Raises:
            InputError: Training fails with these settings.
        """
        first = self._step
        self._step += self._num_steps + 1
        with deterministic(warn_only=self._config.training.device != "cpu"):
            try:
                taken = self._take(first)
                loss_s = self._loss_s(first)
            except TrainingFailedError as error:
                raise InputError(f"the benchmark cannot train with this config: {error}") from error
        counted = [
            (seconds, report.num_images, wait, report.num_triplets, report.num_active, num_valid)
            for wait, seconds, report, num_valid in taken[1:]
        ]
        step_s, num_images, wait_s, num_triplets, num_active, num_valid = np.mean(counted, axis=0).tolist()
        plan_s, start_s = self._plan_s(first + 1), taken[0][0]
        return Lap(step_s, num_images, wait_s, plan_s, loss_s, start_s, num_valid, num_triplets, num_active)

    def _take(self, first: int) -> list[tuple[float, float, StepReport, int]]:
        """One step that fills what is decoded ahead, then those that count; decoders go on to the last of them."""
        device, steps = self._config.training.device, range(first, first + self._num_steps + 1)
        ahead = range(steps.start, steps.stop + 2 * self._decode_workers)
        taken: list[tuple[float, float, StepReport, int]] = []
        asked = time.perf_counter()
        for batch in batches(self._dataset, ahead, self._decode_workers, device == "cuda"):
            waited = time.perf_counter() - asked
            report = self._trainer.step(batch)
            finish(device)
            taken.append((waited, time.perf_counter() - asked, report, num_valid_triplets(batch)))
            if len(taken) == len(steps):
                break
            asked = time.perf_counter()
        return taken

    def _plan_s(self, first: int) -> float:
        start = time.perf_counter()
        for step in range(first, first + self._num_steps):
            self._planner.plan(step)
        return (time.perf_counter() - start) / self._num_steps

    def _loss_s(self, step: int) -> float:
        """Median of some runs of the objective, each after a forward pass, on a batch's embeddings."""
        training, seconds = self._config.training, []
        objective, device = Objective(training.loss, self._config.mining.band), training.device
        batch = self._dataset[step]
        inputs, labels, listed = batch.inputs.to(device), batch.labels_B.to(device), batch.listed_T3
        listed = None if listed is None else listed.to(device)
        for _ in range(_LOSSES):
            with torch.no_grad():
                embeddings = self._encoder(inputs).float()
            embeddings.requires_grad_()
            finish(device)
            start = time.perf_counter()
            result: Any = objective(embeddings, labels, batch.selection, listed)
            result.loss.backward()
            finish(device)
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds))


def measure_step(config: RunConfig, corpus: Corpus) -> float | None:
    """Seconds of a step of the whole batch by one worker on this machine, for a plan; None: there is nothing to train.

    The batches are of random labels: they cost what neighbourhoods cost, and need no generation.

    Raises:
        InputError: Training fails with these settings.
    """
    if config.encoder.name == "identity" or corpus.payload.is_derived:
        return None
    online = config.training.model_copy(update={"source": "online", "curriculum": ()})
    config = config.model_copy(update={"training": online})
    with tempfile.TemporaryDirectory(prefix="motherlode-plan-") as folder, threads(online.threads_per_worker):
        examples = Examples(config, corpus, ExampleCache(corpus, folder), np.empty(0, dtype=np.float32))
        return Product(examples, None, _PLANNED_STEPS, online.decode_workers, decoded=False).lap().step_s


def num_valid_triplets(batch: LoadedBatch) -> int:
    """Triplets (anchor, positive, negative) that a batch lists, or that its labels allow."""
    if batch.listed_T3 is not None:
        return len(batch.listed_T3)
    _, counts = torch.unique(batch.labels_B, return_counts=True)
    return int((counts * (counts - 1) * (len(batch.labels_B) - counts)).sum())
