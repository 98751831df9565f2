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
from ray.actor import ActorHandle
from torch import nn

from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.encode import encode
from pipeline.encoders.checkpoints import (
    CheckpointManifest,
    checkpoints,
    load_trainer_state,
    save_checkpoint,
    weights_digest,
)
from pipeline.errors import AuditRefusedError, InputError, PipelineError
from pipeline.stages.embed.harmonic import old_key, wait_for_old_vectors
from pipeline.stages.embed.worker import limit_gpu_memory
from pipeline.stages.train.encoder import prepare_encoder
from pipeline.stages.train.generation_feed import GenerationChooser
from pipeline.stages.train.round_statistics import RoundMeter
from pipeline.stages.train.segments import GenerationFeed, Segment
from pipeline.stages.train.staleness import measure
from pipeline.stages.train.telemetry import Telemetry
from pipeline.storage.leases import Lease, reader
from pipeline.storage.workspace import Workspace
from pipeline.training.augment import make_augment
from pipeline.training.dataset import StepDataset, batches
from pipeline.training.planner import make_planner
from pipeline.training.pool import Pool
from pipeline.training.trainer import Trainer, TrainingFailedError

T = TypeVar("T")

_REPORT_INTERVAL_S = 0.5


def train_worker(arguments: dict[str, Any]) -> None:
    """What Ray Train runs on every worker.

    Args:
        arguments: ``config``, a dumped RunConfig; ``corpus``, the number of the pinned corpus; ``monitor``, the
            handle of a TrainingMonitor.
    """
    monitor = arguments["monitor"]
    try:
        TrainWorker(RunConfig.model_validate(arguments["config"]), arguments["corpus"], monitor).run()
    except PipelineError as error:
        # Told to the driver instead of raised: Ray would start the workers again, and they would fail again.
        ray.get(monitor.fail.remote(error))


class TrainWorker:
    """The state of one worker."""

    def __init__(self, config: RunConfig, corpus_number: int, monitor: "ActorHandle[Any]") -> None:
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
        self._publication = checkpoints(self._workspace)
        number = self._agree(max(self._publication.numbers()))
        assert number is not None
        self._checkpoint = self._publication.read(number)
        self._lease = self._pin_what_all_need() if self._rank == 0 else None
        self._chooser = GenerationChooser(self._workspace, self._corpus, config, self._lease)
        self._feed = GenerationFeed(self._chooser, config, self._agree, watches=self._rank == 0)
        self._telemetry = Telemetry(config, self._checkpoint, is_first=self._rank == 0)
        self._trainer = self._resume(self._checkpoint)
        train_ids = (~self._corpus.is_test).nonzero()[0]
        self._pool = Pool(train_ids, self._corpus.labels[train_ids])
        self._load = ExampleCache.of(self._corpus, config.cluster).loader(config.transform)
        self._last_report = 0.0
        self._called_for: int | None = None
        self._tell(self._checkpoint.step, "workers have started")

    def _pin_what_all_need(self) -> Lease:
        """Keeps from pruning the corpus, and the vectors of the old encoder of a harmonic run."""
        old = old_key(self._config, self._workspace, self._corpus, self._checkpoint)
        vectors = [] if old is None else [f"{self._workspace.embeddings_prefix(old)}/"]
        purpose = f"a worker that trains run {self._config.run!r}"
        return reader(self._workspace.store, purpose, self._corpus.manifest_key, *vectors)

    def _resume(self, checkpoint: CheckpointManifest) -> Trainer:
        config = self._config
        encoder = prepare_encoder(config, self._publication, checkpoint)
        trainer = Trainer(encoder, config.training, config.seed, self._rank, self._world_size, config.mining.band)
        try:
            trainer.load_state(load_trainer_state(self._publication, checkpoint))
        except ValueError as error:
            raise InputError(
                f"training cannot resume from step {checkpoint.step} of run {config.run!r}: {error}"
            ) from error
        return trainer

    def run(self) -> None:
        """Walks from the checkpoint's step to the last one, round by round."""
        step = self._checkpoint.step
        with nullcontext() if self._lease is None else self._lease.kept(), self._telemetry:
            while step < self._config.training.num_steps:
                step = self._round(step)

    def _round(self, step: int) -> int:
        """Trains until a checkpoint is due, and publishes it; returns its step."""
        config = self._config.at_step(step)
        end = min(step + config.training.steps_per_round, config.training.num_steps)
        meter, feed = RoundMeter(), self._feed.begin_round(config, self._checkpoint)
        self._trainer.begin_round(config.mining.band)
        while step < end:
            segment = self._segment(feed, step)
            meter.generation_wait_s += segment.waited_s
            step, stale = self._walk(config, segment, step, min(segment.end, end), meter)
            if stale:
                break
        self._trainer.end_round(meter.active_share)
        self._publish(step, self._feed.generation, meter)
        return step

    def _segment(self, feed: GenerationFeed, step: int) -> Segment:
        count_wait = self._telemetry.waits()

        def tell(words: str) -> None:
            count_wait()
            self._tell(step, words)

        return feed.segment(step, tell)

    def _walk(self, config: RunConfig, segment: Segment, step: int, end: int, meter: RoundMeter) -> tuple[int, bool]:
        """Takes the steps of a segment; returns the step reached, and whether what is trained on has become stale."""
        training = config.training
        planner = make_planner(
            training,
            self._pool.without(segment.quarantined),
            config.seed,
            segment.start,
            segment.mined,
            segment.previous,
        )
        augment = make_augment(training.augment, config.seed)
        dataset = StepDataset(planner, self._load, self._rank, self._world_size, self._old_ND, augment)
        asked = time.monotonic()
        for batch in batches(dataset, range(step, end), training.decode_workers, training.device == "cuda"):
            wait_s = time.monotonic() - asked
            try:
                report = self._trainer.step(batch)
            except TrainingFailedError as error:
                raise self._failed(str(error)) from error
            step = batch.step + 1
            step_s = time.monotonic() - asked
            meter.add(batch.step, segment.generation, report, wait_s, step_s)
            self._telemetry.step(step, segment, report, wait_s, step_s)
            self._tell(step, meter.note())
            if self._is_stale(config, segment, step, meter):
                return step, True
            if self._feed.has_newer(step):
                break
            asked = time.monotonic()
        return step, False

    def _is_stale(self, config: RunConfig, segment: Segment, step: int, meter: RoundMeter) -> bool:
        """Measures staleness where that is due, on the first worker; all learn what follows from it."""
        training, staleness = config.training, config.training.staleness
        if segment.mined is None or staleness.num_triplets == 0:
            return False
        start, every = self._checkpoint.step, staleness.check_every_steps
        round_end = min(start + training.steps_per_round, training.num_steps)
        if step != round_end and (every is None or (step - start) % every):
            return False
        found = None
        if self._rank == 0:
            found = measure(
                segment.mined,
                functools.partial(self._embed_as_mined, segment.generation),
                staleness.num_triplets,
                segment.band,
                training.loss.margin,
                config.seed,
            )
        agreed = self._agree(found)
        assert agreed is not None
        meter.staleness = agreed.metrics()
        self._telemetry.staleness(step, agreed)
        if not (staleness.decides and agreed.calls_for_refresh(staleness)) or self._called_for == segment.generation:
            return False
        self._called_for = segment.generation  # once: in overlap mode it stays in use until its successor stands
        return True

    def _embed(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Embeddings of examples under the current weights, as the miner would see them."""
        embed, device = self._config.embed, self._config.training.device
        return encode(self._module.eval(), ids.tolist(), self._load, embed, device)

    def _embed_as_mined(self, generation: int | None, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The same, but for those that stood with their old vectors when the generation was mined."""
        vectors = self._embed(ids)
        if generation is not None and self._old_ND is not None:
            stands_old = self._chooser.stands_old(generation, ids)
            vectors[stands_old] = self._old_ND[ids[stands_old]]
        return vectors

    @functools.cached_property
    def _old_ND(self) -> npt.NDArray[np.floating] | None:
        """The vectors of the old encoder, for a harmonic run; read when they are first needed, as they may yet be made.

        Shape (N, D).
        """
        step, old = self._checkpoint.step, self._checkpoint.harmonic
        if old is None:
            return None
        config, place = self._config, self._workspace
        return wait_for_old_vectors(config, place, self._corpus, old, lambda words: self._tell(step, words))

    @property
    def _module(self) -> nn.Module:
        encoder = self._trainer.encoder
        return encoder.module if isinstance(encoder, nn.parallel.DistributedDataParallel) else encoder

    def _publish(self, step: int, generation: int | None, meter: RoundMeter) -> None:
        """The first worker publishes; all wait until the checkpoint stands."""
        config = self._config
        if self._rank == 0:
            module = self._module
            if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
                raise self._failed(
                    f"training diverged: the weights after step {step} are not finite: lower "
                    "training.optimiser.learning_rate"
                )
            standing, ours = save_checkpoint(
                self._publication,
                step=step,
                encoder_module=module,
                encoder_config=config.encoder,
                transform_config=config.transform,
                trainer_state=self._trainer.state(),
                corpus_fingerprint=self._corpus.fingerprint,
                generation=generation,
                metrics=meter.metrics(),
                steps=meter.steps(),
                seed=config.seed,
                config_digest=config.digest(),
                parent=self._checkpoint.step,
                harmonic=self._checkpoint.harmonic,
            )
            if not ours and standing.weights_digest != weights_digest(config.encoder, module.state_dict()):
                raise InputError(
                    f"another job published checkpoint {step} of run {config.run!r} meanwhile: two trainers must not "
                    "share a run; give one of them another --run"
                )
        self._agree(step)
        self._checkpoint = self._publication.read(step)
        self._telemetry.checkpoint(self._checkpoint)
        self._last_report = 0.0
        self._tell(step, "checkpoint published")

    def _failed(self, what: str) -> AuditRefusedError:
        return AuditRefusedError(f"{what}; checkpoint {self._checkpoint.step} is the last good one")

    def _agree(self, found: T | None) -> T | None:
        """What the first worker found, on all workers."""
        if self._world_size == 1:
            return found
        box = [found]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def _tell(self, step: int, note: str) -> None:
        now = time.monotonic()
        if self._rank == 0 and now - self._last_report >= _REPORT_INTERVAL_S:
            self._last_report = now
            self._monitor.update.remote(step, note)
