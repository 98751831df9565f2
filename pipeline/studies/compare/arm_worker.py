"""Trains one arm of a comparison from beginning to end, in memory: the actor of `jobs.compare`.

It takes the steps that the loop would take (the same planners, trainer and mining), without workspace and Ray in
between, so that what is compared is the choice of triplets and nothing else.
"""

import functools
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import threadpoolctl
import torch

from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.encode import encode
from pipeline.encoders.frozen import freeze
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.evaluation.evaluate import evaluate_embeddings
from pipeline.mining.in_memory import mine_whole
from pipeline.mining.shards import Shard
from pipeline.stages.embed.mixture import sample_seed
from pipeline.stages.embed.worker import limit_gpu_memory
from pipeline.stages.train.generation_selector import in_memory_shard
from pipeline.stages.train.staleness import measure_staleness
from pipeline.storage.workspace import Workspace
from pipeline.studies.compare.results import ArmResult, CurvePoint
from pipeline.training.augment import make_augment
from pipeline.training.dataset import StepDataset
from pipeline.training.label_index import LabelIndex
from pipeline.training.planner import NEEDS_MINING, make_planner
from pipeline.training.trainer import StepReport, Trainer, TrainingFailedError
from pipeline.training.triplet_shard import TripletShard


@dataclass(frozen=True)
class ArmTask:
    """What an actor is asked for.

    Attributes:
        arm: Name of the arm.
        config: Its run; the seed is the arm's.
        digest: Of all that the result depends on.
        num_points: Evaluations, evenly spaced, the last at the end.
        num_labels: Train on so many of the training labels, drawn by seed; None: on all.
    """

    arm: str
    config: RunConfig
    digest: str
    num_points: int
    num_labels: int | None


@dataclass
class _Progress:
    """What an arm has used and seen so far."""

    images: int = 0
    train_s: float = 0.0
    refresh_s: float = 0.0
    num_triplets: int = 0
    num_active: int = 0
    staleness: list[dict[str, float]] = field(default_factory=list)

    def add(self, report: StepReport) -> None:
        self.images += report.num_images
        self.num_triplets += report.num_triplets
        self.num_active += report.num_active

    def facts(self) -> dict[str, float]:
        facts = {
            "active_share": self.num_active / max(self.num_triplets, 1),
            "triplets_per_image": self.num_triplets / max(self.images, 1),
        }
        for name in self.staleness[0] if self.staleness else ():
            facts[name] = float(np.mean([one[name] for one in self.staleness]))
        return facts


class ArmWorker:
    """Holds the decoded corpus, which all arms read."""

    def __init__(self, config: RunConfig, corpus_number: int) -> None:
        """Sets the number of threads; nothing is opened here."""
        torch.set_num_threads(config.cluster.threads_per_actor)
        self._limits = threadpoolctl.threadpool_limits(config.cluster.threads_per_actor)
        self._config, self._corpus_number = config, corpus_number
        self._device = config.cluster.actor_device
        limit_gpu_memory(config.cluster.gpus_per_actor)

    @functools.cached_property
    def _corpus(self) -> Corpus:
        return Corpus.open(Workspace.open(self._config.workspace, self._config.run), self._corpus_number)

    @functools.cached_property
    def _inputs(self) -> npt.NDArray[np.float32]:
        """The whole corpus, decoded once: evaluation and mining read all of it again and again."""
        load = ExampleCache.of(self._corpus, self._config.cluster).loader(self._config.transform)
        inputs = np.empty((self._corpus.num_examples, *load(0).shape), dtype=np.float32)
        for example in range(len(inputs)):
            inputs[example] = load(example)
        return inputs

    def train(self, task: ArmTask) -> str:
        """Trains an arm.

        Returns:
            An ArmResult as JSON. An arm that diverges or collapses keeps its last values to the end of the budget, as
            whoever runs it would have to.
        """
        return _ArmRun(task, self._corpus, self._inputs, self._device).run().model_dump_json()


class _ArmRun:
    """One arm with one seed."""

    def __init__(self, task: ArmTask, corpus: Corpus, inputs: npt.NDArray[np.float32], device: str) -> None:
        config = task.config
        self._task, self._config, self._corpus, self._inputs, self._device = task, config, corpus, inputs, device
        self._train_ids = training_ids(corpus, task.num_labels, config.seed)
        self._label_index = LabelIndex(self._train_ids, corpus.labels[self._train_ids])
        workspace = Workspace.open(config.workspace, config.run)
        encoder = pretrained_encoder(config.encoder, config.transform, config.seed, workspace, corpus.fingerprint)
        freeze(encoder, config.training.frozen)
        self._encoder = encoder.to(device)
        self._trainer = Trainer(self._encoder, config.training, config.seed, band=config.mining.band)
        self._progress = _Progress()
        self._mined: TripletShard | None = None
        self._mined_band = config.mining.band

    def run(self) -> ArmResult:
        """Round after round, with evaluations in between."""
        num_steps, curve, failed = self._config.training.num_steps, [self._evaluate(0)], False
        try:
            for step in range(0, num_steps, self._config.training.steps_per_round):
                self._round(step, curve)
        except TrainingFailedError:
            failed = True
            curve.append(self._given_up(curve[-1]))
        facts = self._progress.facts() | {"failed": float(failed)}
        return ArmResult(
            arm=self._task.arm, seed=self._config.seed, digest=self._task.digest, curve=tuple(curve), facts=facts
        )

    def _round(self, first_step: int, curve: list[CurvePoint]) -> None:
        training, num_points = self._config.training, self._task.num_points
        due = {training.num_steps * point // num_points for point in range(1, num_points + 1)}
        dataset = self._dataset(first_step)
        self._trainer.begin_round(self._config.at_step(first_step).mining.band)
        num_triplets = num_active = 0
        for step in range(first_step, min(first_step + training.steps_per_round, training.num_steps)):
            start = time.perf_counter()
            report = self._trainer.step(dataset[step])
            self._progress.train_s += time.perf_counter() - start
            self._progress.add(report)
            num_triplets, num_active = num_triplets + report.num_triplets, num_active + report.num_active
            if step + 1 in due:
                curve.append(self._evaluate(step + 1))
        self._trainer.end_round(num_active / max(num_triplets, 1))

    def _given_up(self, last: CurvePoint) -> CurvePoint:
        training = self._config.training
        images = max(training.num_steps * training.batch.num_images, last.images + 1)
        return last.model_copy(update={"step": training.num_steps, "images": images})

    def _dataset(self, step: int) -> StepDataset:
        """A round's batches, from a fresh generation where the arm mines."""
        config = self._config.at_step(step)
        previous = self._mined
        if config.training.source in NEEDS_MINING:
            start = time.perf_counter()
            self._mined = self._mine(config, step)
            self._progress.refresh_s += time.perf_counter() - start
        planner = make_planner(config.training, self._label_index, config.seed, step, self._mined, previous)
        augment = make_augment(self._config.training.augment, self._config.seed)
        return StepDataset(planner, self._inputs.__getitem__, rank=0, world_size=1, augment=augment)

    def _mine(self, config: RunConfig, step: int) -> TripletShard:
        corpus = self._corpus
        num_sampled = config.training.staleness.num_triplets
        if self._mined is not None and num_sampled:
            margin, seed = config.training.loss.margin, config.seed
            stale = measure_staleness(self._mined, self._embed, num_sampled, self._mined_band, margin, seed)
            self._progress.staleness.append(stale.metrics())
        ids, labels = self._train_ids, corpus.labels[self._train_ids]
        self._mined_band = config.mining.band
        examples = Shard(ids, labels, self._embed(ids))
        triplets = mine_whole(examples, config.mining, config.seed, sample_seed(config.seed, step), self._device)
        return in_memory_shard(step, triplets, corpus, config.mining.neighbours_per_label)

    def _embed(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        embed = self._config.embed
        load = self._inputs.__getitem__
        found = encode(self._encoder.eval(), ids.tolist(), load, embed, self._device)
        if not np.isfinite(found).all():
            raise TrainingFailedError("training diverged: an embedding is not finite")
        return found

    def _evaluate(self, step: int) -> CurvePoint:
        test_ids = np.flatnonzero(self._corpus.is_test)
        labels = self._corpus.labels[test_ids]
        metrics = evaluate_embeddings(self._embed(test_ids), labels, self._config.evaluation, seed=0).metrics()
        used = self._progress
        return CurvePoint(
            step=step, images=used.images, metrics=metrics, train_s=used.train_s, refresh_s=used.refresh_s
        )


def training_ids(corpus: Corpus, num_labels: int | None, seed: int) -> npt.NDArray[np.int64]:
    """The training examples, of some of the labels only where so many are asked for."""
    ids = np.flatnonzero(~corpus.is_test)
    if num_labels is None:
        return ids
    labels = np.unique(corpus.labels[ids])
    chosen = np.random.default_rng(seed).permutation(labels)[:num_labels]
    return ids[np.isin(corpus.labels[ids], chosen)]
