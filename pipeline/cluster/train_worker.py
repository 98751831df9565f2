"""One DDP worker of the trainer: resumes, walks the steps segment by segment, publishes checkpoints."""

import time
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.train.torch
import torch
import torch.distributed as dist
from ray.actor import ActorHandle
from torch import nn

from pipeline.cluster.generation_feed import GenerationChooser, segment_at
from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.corpus.transform import Transform
from pipeline.encoders.checkpoints import (
    CheckpointManifest,
    checkpoints,
    load_encoder,
    load_trainer_state,
    save_checkpoint,
    weights_digest,
)
from pipeline.errors import AuditRefusedError, InputError, PipelineError
from pipeline.storage.workspace import Workspace
from pipeline.training.batches import BatchPlanner, Neighbourhoods, Pool, RandomLabels, RandomTriplets
from pipeline.training.dataset import LoadExample, StepDataset, batches
from pipeline.training.trainer import StepReport, Trainer

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


@dataclass
class RoundMeter:
    """What is reported of the steps since the last checkpoint."""

    num_steps: int = 0
    loss: float = 0.0
    num_triplets: int = 0
    num_active: int = 0
    num_images: int = 0
    data_wait_s: float = 0.0
    generation_wait_s: float = 0.0
    start: float = field(default_factory=time.monotonic)

    def add(self, report: StepReport, waited_s: float) -> None:
        """Counts one step."""
        self.num_steps += 1
        self.loss += report.loss
        self.num_triplets += report.num_triplets
        self.num_active += report.num_active
        self.num_images += report.num_images
        self.data_wait_s += waited_s

    def metrics(self) -> dict[str, float]:
        """Means and rates since the meter was made."""
        wall_s = max(time.monotonic() - self.start, 1e-9)
        training_s = max(wall_s - self.generation_wait_s, 1e-9)
        return {
            "loss": self.loss / max(self.num_steps, 1),
            "active_share": self.num_active / max(self.num_triplets, 1),
            "images_per_s": self.num_images / training_s,
            "data_wait_share": self.data_wait_s / training_s,
            "generation_wait_share": self.generation_wait_s / wall_s,
        }

    def note(self) -> str:
        """For people."""
        metrics = self.metrics()
        return (
            f"loss {metrics['loss']:.3f}, active {metrics['active_share']:.0%}, {metrics['images_per_s']:,.0f} images/s"
        )


class TrainWorker:
    """The state of one worker."""

    def __init__(self, config: RunConfig, corpus_number: int, monitor: "ActorHandle[Any]") -> None:
        """Opens the workspace and takes up the newest checkpoint."""
        training = config.training
        torch.set_num_threads(training.threads_per_worker)
        torch.use_deterministic_algorithms(True, warn_only=training.device != "cpu")
        context = ray.train.get_context()
        self._rank, self._world_size = context.get_world_rank(), context.get_world_size()
        self._config, self._monitor = config, monitor
        self._workspace = Workspace.open(config.workspace, config.run)
        self._corpus = Corpus.open(self._workspace, corpus_number)
        self._publication = checkpoints(self._workspace)
        self._chooser = GenerationChooser(self._workspace, self._corpus, config)
        number = self._agree(max(self._publication.numbers()))
        assert number is not None
        self._checkpoint = self._publication.read(number)
        self._trainer = self._resume(self._checkpoint)
        train_ids = (~self._corpus.is_test).nonzero()[0]
        self._pool = Pool(train_ids, self._corpus.labels[train_ids])
        self._load = self._loader()
        self._last_report = 0.0

    def _resume(self, checkpoint: CheckpointManifest) -> Trainer:
        config = self._config
        encoder: nn.Module = load_encoder(self._publication, checkpoint, config.encoder, config.transform, "cpu")
        encoder = ray.train.torch.prepare_model(
            encoder,
            move_to_device=config.training.device == "cuda",
            # Without it DDP lays its buckets anew after a process's first step, and sums in another order from then on:
            # a resumed run would not take the steps that it would have taken.
            parallel_strategy_kwargs={"find_unused_parameters": True},
        )
        trainer = Trainer(encoder, config.training, config.seed, self._rank, self._world_size)
        try:
            trainer.load_state(load_trainer_state(self._publication, checkpoint))
        except ValueError as error:
            raise InputError(
                f"training cannot resume from step {checkpoint.step} of run {config.run!r}: {error}"
            ) from error
        return trainer

    def _loader(self) -> LoadExample:
        cache = ExampleCache(self._corpus, self._config.cluster.cache_dir)
        if self._corpus.manifest.payload == "vector":
            return cache.payload  # type: ignore[return-value]
        transform = Transform(self._config.transform)
        return lambda example: transform(cache.payload(example))  # type: ignore[arg-type]

    def run(self) -> None:
        """Walks from the checkpoint's step to the last one."""
        training, step = self._config.training, self._checkpoint.step
        meter = RoundMeter()
        while step < training.num_steps:
            planner, end, generation = self._segment(step, meter)
            dataset = StepDataset(planner, self._load, self._rank, self._world_size)
            asked = time.monotonic()
            for batch in batches(dataset, range(step, end), training.decode_workers):
                waited_s = time.monotonic() - asked
                try:
                    meter.add(self._trainer.step(batch), waited_s)
                except FloatingPointError as error:
                    raise self._diverged(str(error)) from error
                step = batch.step + 1
                self._tell(step, meter.note())
                asked = time.monotonic()
            if step % training.steps_per_round == 0 or step == training.num_steps:
                self._publish(step, generation, meter.metrics())
                meter = RoundMeter()

    def _segment(self, step: int, meter: RoundMeter) -> tuple[BatchPlanner, int, int | None]:
        """What plans the steps from ``step`` on, up to which step, and from which generation."""
        training, seed = self._config.training, self._config.seed
        round_start = step - step % training.steps_per_round
        round_end = min(round_start + training.steps_per_round, training.num_steps)
        if training.source == "online":
            return RandomLabels(self._pool, training.batch, seed), round_end, None
        if training.source == "random":
            return RandomTriplets(self._pool, training.batch, seed), round_end, None
        manifest, waited_s = self._chooser.wait(self._checkpoint, self._agree, lambda words: self._tell(step, words))
        meter.generation_wait_s += waited_s
        segment = segment_at(step, manifest, training, seed, round_start)
        mined = self._chooser.open_shard(segment)
        planner = Neighbourhoods(self._pool, mined, training.batch, training.selection, seed)
        return planner, segment.end, manifest.number

    def _publish(self, step: int, generation: int | None, metrics: dict[str, float]) -> None:
        """The first worker publishes; all wait until the checkpoint stands."""
        config = self._config
        if self._rank == 0:
            encoder = self._trainer.encoder
            module = encoder.module if isinstance(encoder, nn.parallel.DistributedDataParallel) else encoder
            if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
                raise self._diverged(f"the weights after step {step} are not finite")
            standing, ours = save_checkpoint(
                self._publication,
                step=step,
                encoder_module=module,
                encoder_config=config.encoder,
                transform_config=config.transform,
                trainer_state=self._trainer.state(),
                corpus_fingerprint=self._corpus.fingerprint,
                generation=generation,
                metrics=metrics,
                seed=config.seed,
                config_digest=config.digest(),
                parent=self._checkpoint.step,
            )
            if not ours and standing.weights_digest != weights_digest(config.encoder, module.state_dict()):
                raise InputError(
                    f"another job published checkpoint {step} of run {config.run!r} meanwhile: two trainers must not "
                    "share a run; give one of them another --run"
                )
        self._agree(step)
        self._checkpoint = self._publication.read(step)
        self._last_report = 0.0
        self._tell(step, "checkpoint published")

    def _diverged(self, what: str) -> AuditRefusedError:
        return AuditRefusedError(
            f"training diverged ({what}); checkpoint {self._checkpoint.step} is the last good one: "
            "lower training.optimiser.learning_rate"
        )

    def _agree(self, number: int | None) -> int | None:
        """The first worker's number, on all workers."""
        if self._world_size == 1:
            return number
        box = [number]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def _tell(self, step: int, note: str) -> None:
        now = time.monotonic()
        if self._rank == 0 and now - self._last_report >= _REPORT_INTERVAL_S:
            self._last_report = now
            self._monitor.update.remote(step, note)
