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
from pipeline.stages.train.generation_selector import Agree, GenerationSelector
from pipeline.training.label_index import NO_IDS
from pipeline.training.planner import NEEDS_MINING
from pipeline.training.triplet_shard import TripletShard

_SHARD_ORDER_STREAM = 0x7368617264
_WATCH_INTERVAL_S = 1.0
_STEPS_BETWEEN_QUESTIONS = 10  # workers ask one another that often whether to swap


@dataclass(frozen=True)
class Segment:
    """Consecutive steps that train on one shard of one generation, or on none.

    Attributes:
        generation: Number of the generation; None where the source mines nothing, or nothing stands yet.
        start: Its first step.
        end: The first step after it.
        mined: The shard, as the batch builder takes it.
        previous: A shard of the generation before, where the config mixes it in.
        band: What the shard was mined for.
        quarantined: Examples that the generation left out, int64, ascending: no batch holds them.
        waited_s: Seconds that training stood still for it.
        mined_from: Step of the checkpoint that the generation was mined from.
    """

    generation: int | None
    start: int
    end: int
    mined: TripletShard | None = None
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
    place = offset * num_visited // num_steps
    begin, end = (first_step + turn * num_steps - (-edge * num_steps // num_visited) for edge in (place, place + 1))
    order = np.random.default_rng((_SHARD_ORDER_STREAM, seed, number)).permutation(num_shards)
    return int(order[(turn * num_visited + place) % num_shards]), begin, end


class SegmentSchedule:
    """Hands out segments of the round at hand, on all workers alike.

    alternate: the generation mined from the checkpoint that begins the round, waited for.
    overlap: the newest there is, without waiting; before the first one, none. A thread of the first worker looks for
    newer ones, so that no step waits for the store.
    """

    def __init__(self, chooser: GenerationSelector, config: RunConfig, agree: Agree, watches: bool) -> None:
        """Takes what finds generations.

        Args:
            chooser: Finds them.
            config: The run, before any curriculum.
            agree: Between workers.
            watches: Whether this is the first worker.
        """
        self._chooser, self._agree = chooser, agree
        self._config = config
        self._overlaps = config.training.mode == "overlap" and config.training.source in NEEDS_MINING
        self._watcher = Watcher(chooser) if self._overlaps and watches else None
        self._checkpoint: CheckpointManifest | None = None
        self._since = 0
        self.generation: int | None = None
        """The one in use."""

    def begin_round(self, config: RunConfig, checkpoint: CheckpointManifest) -> "SegmentSchedule":
        """Takes the round's config (curriculum applied) and the checkpoint that it begins with."""
        self._config, self._checkpoint = config, checkpoint
        if not self._overlaps:
            self.generation, self._since = None, checkpoint.step
        elif self._watcher is not None:
            self._watcher.follow(checkpoint)
        return self

    def segment(self, step: int, tell: Callable[[str], None]) -> Segment:
        """What to train on from a step on.

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
                manifest, waited_s = self._chooser.wait(checkpoint, self._agree, tell)
                self.generation = manifest.number
        if self.generation is None:
            return Segment(None, step, step + training.steps_per_round)
        num_steps = training.steps_per_round
        if not self._overlaps:
            num_steps = min(num_steps, training.num_steps - self._since)
        num_shards = self._chooser.num_shards(self.generation)
        shard, start, end = shard_at(step, self._since, num_steps, num_shards, self._config.seed, self.generation)
        previous = None
        if training.batch.previous_share > 0 and (before := self._chooser.before(self.generation)) is not None:
            previous = self._chooser.open_shard(before, shard)
        mined = self._chooser.open_shard(self.generation, shard)
        quarantined = self._chooser.quarantined(self.generation)
        band = self._chooser.band(self.generation)
        mined_from = self._chooser.mined_from(self.generation)
        return Segment(self.generation, start, end, mined, previous, band, quarantined, waited_s, mined_from)

    def has_newer(self, step: int) -> bool:
        """Whether a generation newer than the one in use has been seen; asked between steps."""
        if not self._overlaps or step % _STEPS_BETWEEN_QUESTIONS:
            return False
        return self._newest() != self.generation

    def _swap(self, step: int) -> None:
        newest = self._newest()
        if newest != self.generation:
            self.generation, self._since = newest, step

    def _newest(self) -> int | None:
        """The newest generation that the first worker has seen, on all workers; the one in use where it saw none."""
        seen = self._agree(self._watcher.newest if self._watcher is not None else None)
        return self.generation if seen is None else seen


class Watcher:
    """Looks for the newest generation in a thread of its own."""

    def __init__(self, chooser: GenerationSelector) -> None:
        """Starts with the first checkpoint to follow."""
        self._chooser = chooser
        self._checkpoint: CheckpointManifest | None = None
        self._newest: int | None = None
        self._error: Exception | None = None

    def follow(self, checkpoint: CheckpointManifest) -> None:
        """Looks once, at once, and then goes on looking in the background."""
        started = self._checkpoint is not None
        self._checkpoint = checkpoint
        if not started:
            self._look()
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

    def _look(self) -> None:
        assert self._checkpoint is not None
        self._newest = self._chooser.choose(self._checkpoint)

    def _run(self) -> None:
        while self._error is None:
            time.sleep(_WATCH_INTERVAL_S)
            try:
                self._look()
            except PipelineError as error:
                self._error = error
