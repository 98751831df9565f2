"""Which shard of which generation a step trains on, round by round."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.config import BandConfig, RunConfig
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import PipelineError
from pipeline.stages.train.generation_selector import Broadcast, GenerationSelector
from pipeline.training.label_index import NO_IDS
from pipeline.training.planner import NEEDS_MINING
from pipeline.training.triplet_shard import TripletShard
from pipeline.triplets.quarantine import excluded_examples

_SHARD_ORDER_STREAM = 0x7368617264
_WATCH_INTERVAL_S = 1.0
_STEPS_BETWEEN_BROADCASTS = 10  # so often workers learn of a newer generation


@dataclass(frozen=True)
class Segment:
    """Consecutive steps that train on one shard of one generation, or on none.

    Attributes:
        generation: Number of the generation; None where the source mines nothing, or nothing stands yet.
        start: Its first step.
        end: The first step after it.
        shard: The shard, as batch planners take it.
        previous: A shard of the generation before, where the config mixes it in.
        band: What the shard was mined for.
        quarantined: Examples that the generation left out, int64, ascending: no batch holds them.
        waited_s: Seconds that training stood still for it.
        mined_from: Step of the checkpoint that the generation was mined from.
    """

    generation: int | None
    start: int
    end: int
    shard: TripletShard | None = None
    previous: TripletShard | None = None
    band: BandConfig = field(default_factory=BandConfig)
    quarantined: npt.NDArray[np.int64] = field(default_factory=NO_IDS.copy)
    waited_s: float = 0.0
    mined_from: int | None = None


def shard_at(
    step: int, first_step: int, num_steps: int, num_shards: int, seed: int, number: int
) -> tuple[int, int, int]:
    """The shard of a step, and the steps at which it begins and ends: a pure function, so that a resumed run finds it.

    Steps walk through the shards in an order drawn from (seed, generation): through all of them once in ``num_steps``
    steps, if there is a step for each, and then from the beginning.
    """
    turn, offset = divmod(step - first_step, num_steps)
    num_visited = min(num_shards, num_steps)
    visit = offset * num_visited // num_steps
    begin, end = (first_step + turn * num_steps - (-edge * num_steps // num_visited) for edge in (visit, visit + 1))
    order = np.random.default_rng((_SHARD_ORDER_STREAM, seed, number)).permutation(num_shards)
    return int(order[(turn * num_visited + visit) % num_shards]), begin, end


class SegmentSchedule:
    """Gives the segments of the current round, the same ones on all workers.

    alternate: the generation mined from the checkpoint that begins the round, waited for.
    overlap: the newest there is, without waiting; before the first one, none. A thread of the first worker looks for
    newer ones, so that no step waits for the store.
    """

    def __init__(self, selector: GenerationSelector, config: RunConfig, broadcast: Broadcast, watches: bool) -> None:
        """Begins with no round; ``config`` is the run before any curriculum, and only the first worker watches."""
        self._selector, self._broadcast = selector, broadcast
        self._config = config
        self._overlaps = config.training.mode == "overlap" and config.training.source in NEEDS_MINING
        self._watcher = GenerationWatcher(selector) if self._overlaps and watches else None
        self._checkpoint: CheckpointManifest | None = None
        self._first_step = 0
        self.generation: int | None = None
        """The one in use."""

    def begin_round(self, config: RunConfig, checkpoint: CheckpointManifest) -> None:
        """Takes the round's config (curriculum applied) and the checkpoint that it begins with."""
        self._config, self._checkpoint = config, checkpoint
        if not self._overlaps:
            self.generation, self._first_step = None, checkpoint.step
        elif self._watcher is not None:
            self._watcher.follow(checkpoint)

    def segment(self, step: int, report: Callable[[str], None]) -> Segment:
        """The segment of a step; ``report`` is called while it is waited for.

        Raises:
            UnavailableError: No generation appeared in time.
        """
        training, checkpoint = self._config.training, self._checkpoint
        assert checkpoint is not None
        waited_s = 0.0
        if training.source in NEEDS_MINING:
            if self._overlaps:
                self._swap(step)
            elif self.generation is None:
                self.generation, waited_s = self._selector.wait(checkpoint, self._broadcast, report)
        if self.generation is None:
            return Segment(None, step, step + training.steps_per_round)
        num_steps = training.steps_per_round
        if not self._overlaps:
            num_steps = min(num_steps, training.num_steps - self._first_step)
        generation, seed = self._selector.open(self.generation), self._config.seed
        manifest = generation.manifest
        number, start, end = shard_at(step, self._first_step, num_steps, generation.num_shards, seed, manifest.number)
        parent = self._selector.parent(manifest) if training.batch.previous_share > 0 else None
        return Segment(
            generation=manifest.number,
            start=start,
            end=end,
            shard=self._selector.open_shard(manifest.number, number),
            previous=None if parent is None else self._selector.open_shard(parent, number),
            band=manifest.mining.band,
            quarantined=excluded_examples(generation.quarantine()),
            waited_s=waited_s,
            mined_from=manifest.checkpoint_step,
        )

    def has_newer(self, step: int) -> bool:
        """Whether a generation newer than the one in use has been seen; asked between steps."""
        if not self._overlaps or step % _STEPS_BETWEEN_BROADCASTS:
            return False
        return self._newest() != self.generation

    def _swap(self, step: int) -> None:
        newest = self._newest()
        if newest != self.generation:
            self.generation, self._first_step = newest, step

    def _newest(self) -> int | None:
        """The newest generation that the first worker has seen, on all workers; the one in use where it saw none."""
        seen = self._broadcast(self._watcher.newest if self._watcher is not None else None)
        return self.generation if seen is None else seen


class GenerationWatcher:
    """Looks for the newest generation in a thread of its own."""

    def __init__(self, selector: GenerationSelector) -> None:
        """Starts with the first checkpoint to follow."""
        self._selector = selector
        self._checkpoint: CheckpointManifest | None = None
        self._newest: int | None = None
        self._error: Exception | None = None

    def follow(self, checkpoint: CheckpointManifest) -> None:
        """Looks once, at once, and then goes on looking in the background."""
        started = self._checkpoint is not None
        self._checkpoint = checkpoint
        if not started:
            self._select()
            threading.Thread(target=self._run, name="generations", daemon=True).start()

    @property
    def newest(self) -> int | None:
        """The newest generation seen.

        Raises:
            PipelineError: It cannot be looked for.
        """
        if self._error is not None:
            raise self._error
        return self._newest

    def _select(self) -> None:
        assert self._checkpoint is not None
        self._newest = self._selector.select(self._checkpoint)

    def _run(self) -> None:
        while self._error is None:
            time.sleep(_WATCH_INTERVAL_S)
            try:
                self._select()
            except PipelineError as error:
                self._error = error
