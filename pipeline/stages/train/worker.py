"""One DDP worker of the trainer: resumes, walks the steps segment by segment, publishes checkpoints."""

import functools
import time
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import ray
import ray.train.torch
import torch
import torch.distributed as dist
from torch import nn

from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.encode import encode
from pipeline.encoders.checkpoints import (
    CheckpointContents,
    CheckpointManifest,
    checkpoints,
    load_trainer_state,
    save_checkpoint,
    weights_digest,
)
from pipeline.errors import AuditRefusedError, InputError, PipelineError
from pipeline.runtime.remote import Actor
from pipeline.stages.embed.harmonic import old_key, wait_for_old_vectors
from pipeline.stages.embed.worker import limit_gpu_memory
from pipeline.stages.job import Job
from pipeline.stages.train.encoder import prepare_encoder
from pipeline.stages.train.generation_selector import GenerationSelector
from pipeline.stages.train.monitor import TrainingMonitor
from pipeline.stages.train.round_statistics import RoundStatistics
from pipeline.stages.train.segments import Segment, SegmentSchedule
from pipeline.stages.train.staleness import measure_staleness
from pipeline.stages.train.telemetry import Telemetry
from pipeline.storage.leases import Lease, acquire_pins
from pipeline.storage.workspace import Workspace
from pipeline.training.augment import make_augment
from pipeline.training.dataset import StepDataset, batches
from pipeline.training.label_index import LabelIndex
from pipeline.training.planner import make_planner
from pipeline.training.trainer import Trainer, TrainingFailedError

T = TypeVar("T")

_REPORT_INTERVAL_S = 0.5


def train_worker(arguments: dict[str, Any]) -> None:
    """What Ray Train runs on every worker.

    Args:
        arguments: ``config``, a dumped RunConfig; ``corpus``, the number of the pinned corpus; ``monitor``, an
            Actor of a TrainingMonitor.
    """
    monitor: Actor[TrainingMonitor] = arguments["monitor"]
    try:
        TrainWorker(RunConfig.model_validate(arguments["config"]), arguments["corpus"], monitor).run()
    except PipelineError as error:
        # Reported to the driver instead of raised: Ray would start the workers again, and they would fail again.
        ray.get(monitor.submit(TrainingMonitor.fail, error))


class TrainWorker:
    """The state of one worker."""

    def __init__(self, config: RunConfig, corpus_number: int, monitor: Actor[TrainingMonitor]) -> None:
        """Opens the workspace and takes up the newest checkpoint."""
        training = config.training
        torch.set_num_threads(training.threads_per_worker)
        torch.use_deterministic_algorithms(True, warn_only=training.device != "cpu")
        # Otherwise torch fills all memory that it is about to write with NaN: a tenth of the time, and no other bit.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        limit_gpu_memory(config.cluster.gpus_per_trainer)
        context = ray.train.get_context()
        self._rank, self._world_size = context.get_world_rank(), context.get_world_size()
        self._config, self._monitor = config, monitor
        self._workspace = Workspace.open(config.workspace, config.run)
        self._corpus = Corpus.open(self._workspace, corpus_number)
        self._checkpoints = checkpoints(self._workspace)
        number = self._broadcast(max(self._checkpoints.numbers()))
        assert number is not None
        self._checkpoint = self._checkpoints.read(number)
        self._lease = self._pin_inputs() if self._rank == 0 else None
        self._selector = GenerationSelector(self._workspace, self._corpus, config, self._lease)
        self._schedule = SegmentSchedule(self._selector, config, self._broadcast, watches=self._rank == 0)
        self._telemetry = Telemetry(config, self._checkpoint, is_first=self._rank == 0)
        self._trainer = self._resume(self._checkpoint)
        train_ids = (~self._corpus.is_test).nonzero()[0]
        self._label_index = LabelIndex(train_ids, self._corpus.labels[train_ids])
        self._load = ExampleCache.of(self._corpus, config.cluster).loader(config.transform)
        self._last_report_at = 0.0
        self._stale: int | None = None  # the generation that has called for a refresh
        self._report(self._checkpoint.step, "workers have started")

    def _pin_inputs(self) -> Lease:
        """Keeps from pruning the corpus, and the vectors of the old encoder of a harmonic run."""
        old = old_key(Job(self._config, self._workspace, self._corpus), self._checkpoint)
        vectors = [] if old is None else [f"{self._workspace.embeddings_prefix(old)}/"]
        purpose = f"a worker that trains run {self._config.run!r}"
        return acquire_pins(self._workspace.store, purpose, self._corpus.manifest_key, *vectors)

    def _resume(self, checkpoint: CheckpointManifest) -> Trainer:
        config = self._config
        encoder = prepare_encoder(config, self._checkpoints, checkpoint)
        trainer = Trainer(encoder, config.training, config.seed, self._rank, self._world_size, config.mining.band)
        try:
            trainer.load_state(load_trainer_state(self._checkpoints, checkpoint))
        except ValueError as error:
            raise InputError(
                f"training cannot resume from step {checkpoint.step} of run {config.run!r}: {error}"
            ) from error
        return trainer

    def run(self) -> None:
        """Walks from the checkpoint's step to the last one, round by round."""
        step = self._checkpoint.step
        with nullcontext() if self._lease is None else self._lease.renewing(), self._telemetry:
            while step < self._config.training.num_steps:
                step = self._train_round(step)

    def _train_round(self, step: int) -> int:
        """Trains until a checkpoint is due, and publishes it; returns its step."""
        config = self._config.at_step(step)
        end = min(step + config.training.steps_per_round, config.training.num_steps)
        statistics = RoundStatistics()
        self._schedule.begin_round(config, self._checkpoint)
        self._trainer.begin_round(config.mining.band)
        while step < end:
            segment = self._segment(step)
            statistics.generation_wait_s += segment.waited_s
            step, stale = self._train_segment(config, segment, step, min(segment.end, end), statistics)
            if stale:
                break
        self._trainer.end_round(statistics.active_share)
        self._publish(step, self._schedule.generation, statistics)
        return step

    def _segment(self, step: int) -> Segment:
        add_wait = self._telemetry.wait_timer()

        def report(note: str) -> None:
            add_wait()
            self._report(step, note)

        return self._schedule.segment(step, report)

    def _train_segment(
        self, config: RunConfig, segment: Segment, step: int, end: int, statistics: RoundStatistics
    ) -> tuple[int, bool]:
        """Takes the steps of a segment; returns the step reached, and whether what is trained on has become stale."""
        training = config.training
        index = self._label_index.without(segment.quarantined)
        planner = make_planner(training, index, config.seed, segment.start, segment.shard, segment.previous)
        augment = make_augment(training.augment, config.seed)
        dataset = StepDataset(planner, self._load, self._rank, self._world_size, self._old_ND, augment)
        asked_at = time.monotonic()
        for batch in batches(dataset, range(step, end), training.decode_workers, training.device == "cuda"):
            wait_s = time.monotonic() - asked_at
            try:
                report = self._trainer.step(batch)
            except TrainingFailedError as error:
                raise self._training_error(str(error)) from error
            step = batch.step + 1
            step_s = time.monotonic() - asked_at
            statistics.add(batch.step, segment.generation, report, wait_s, step_s)
            self._telemetry.step(step, segment, report, wait_s, step_s)
            self._report(step, statistics.summary())
            if self._is_stale(config, segment, step, statistics):
                return step, True
            if self._schedule.has_newer(step):
                break
            asked_at = time.monotonic()
        return step, False

    def _is_stale(self, config: RunConfig, segment: Segment, step: int, statistics: RoundStatistics) -> bool:
        """Measures staleness where that is due, on the first worker; all learn what follows from it."""
        training, staleness = config.training, config.training.staleness
        if segment.shard is None or staleness.num_triplets == 0:
            return False
        start, every = self._checkpoint.step, staleness.check_every_steps
        round_end = min(start + training.steps_per_round, training.num_steps)
        if step != round_end and (every is None or (step - start) % every):
            return False
        found = None
        if self._rank == 0:
            embed, margin = functools.partial(self._embed_as_mined, segment.generation), training.loss.margin
            found = measure_staleness(segment.shard, embed, staleness.num_triplets, segment.band, margin, config.seed)
        agreed = self._broadcast(found)
        assert agreed is not None
        statistics.staleness = agreed.metrics()
        self._telemetry.staleness(step, agreed)
        if not (staleness.decides and agreed.calls_for_refresh(staleness)) or self._stale == segment.generation:
            return False
        self._stale = segment.generation  # once: in overlap mode it stays in use until its successor stands
        return True

    def _embed(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Embeddings of examples under the current weights, as the miner would see them."""
        embed, device = self._config.embed, self._config.training.device
        return encode(self._module.eval(), ids.tolist(), self._load, embed, device)

    def _embed_as_mined(self, generation: int | None, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The same, with the old vectors of the examples that had them when the generation was mined."""
        vectors = self._embed(ids)
        if generation is not None and self._old_ND is not None:
            is_old = self._selector.uses_old_vectors(generation, ids)
            vectors[is_old] = self._old_ND[ids[is_old]]
        return vectors

    @functools.cached_property
    def _old_ND(self) -> npt.NDArray[np.floating] | None:
        """The vectors of the old encoder, for a harmonic run; read when first needed, as they may yet be made.

        Shape (N, D).
        """
        step, old = self._checkpoint.step, self._checkpoint.harmonic
        if old is None:
            return None
        job = Job(self._config, self._workspace, self._corpus)
        return wait_for_old_vectors(job, old, lambda note: self._report(step, note))

    @property
    def _module(self) -> nn.Module:
        encoder = self._trainer.encoder
        return encoder.module if isinstance(encoder, nn.parallel.DistributedDataParallel) else encoder

    def _publish(self, step: int, generation: int | None, statistics: RoundStatistics) -> None:
        """The first worker publishes; all wait until the checkpoint stands."""
        config = self._config
        if self._rank == 0:
            module = self._module
            if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
                raise self._training_error(
                    f"training diverged: the weights after step {step} are not finite: lower "
                    "training.optimiser.learning_rate"
                )
            contents = CheckpointContents(
                step=step,
                encoder=module,
                corpus_fingerprint=self._corpus.fingerprint,
                harmonic=self._checkpoint.harmonic,
                trainer_state=self._trainer.state(),
                generation=generation,
                metrics=statistics.metrics(),
                steps=statistics.steps(),
                parent=self._checkpoint.step,
            )
            committed, ours = save_checkpoint(self._checkpoints, config, contents)
            if not ours and committed.weights_digest != weights_digest(config.encoder, module.state_dict()):
                raise InputError(
                    f"another job published checkpoint {step} of run {config.run!r} meanwhile: two trainers must not "
                    "share a run; give one of them another --run"
                )
        self._broadcast(step)
        self._checkpoint = self._checkpoints.read(step)
        self._telemetry.checkpoint(self._checkpoint)
        self._last_report_at = 0.0
        self._report(step, "checkpoint published")

    def _training_error(self, reason: str) -> AuditRefusedError:
        return AuditRefusedError(f"{reason}; checkpoint {self._checkpoint.step} is the last good one")

    def _broadcast(self, value: T | None) -> T | None:
        """The first worker's value, on all workers."""
        if self._world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def _report(self, step: int, note: str) -> None:
        now = time.monotonic()
        if self._rank == 0 and now - self._last_report_at >= _REPORT_INTERVAL_S:
            self._last_report_at = now
            self._monitor.submit(TrainingMonitor.update, step, note)
