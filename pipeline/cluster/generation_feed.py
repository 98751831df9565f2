"""Which generation, and which of its shards, a step trains on."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import RunConfig, TrainingConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import UnavailableError
from pipeline.storage.workspace import Workspace
from pipeline.training.batches import Mined
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import GenerationManifest

_SHARD_ORDER_STREAM = 0x7368617264
_POLL_INTERVAL_S = 0.25


@dataclass(frozen=True)
class Segment:
    """Consecutive steps that train on one shard of one generation.

    Attributes:
        generation: Number of the generation.
        shard: Index of the shard.
        end: The first step after the segment.
    """

    generation: int
    shard: int
    end: int


def segment_at(step: int, manifest: GenerationManifest, config: TrainingConfig, seed: int, round_start: int) -> Segment:
    """The segment that begins at or holds ``step``: a pure function, so a resumed run finds its place again.

    A round walks through the generation's shards, in an order drawn from (seed, generation): through all of them
    if it has a step for each.
    """
    num_shards = len(manifest.parts_of("triplets"))
    round_end = min(round_start + config.steps_per_round, config.num_steps)
    length = -(-(round_end - round_start) // num_shards)
    place = (step - round_start) // length
    order = np.random.default_rng((_SHARD_ORDER_STREAM, seed, manifest.number)).permutation(num_shards)
    return Segment(manifest.number, int(order[place]), min(round_start + (place + 1) * length, round_end))


class GenerationChooser:
    """Finds the generation to train on, waiting for it where the mode says so.

    Only generations of the pinned corpus, mined as the config says, are looked at: whatever else other jobs publish
    in the run is not for this trainer.
    """

    def __init__(self, workspace: Workspace, corpus: Corpus, config: RunConfig) -> None:
        """Takes the run's workspace; reads nothing yet."""
        self._publication = generations(workspace)
        self._corpus, self._config = corpus, config

    def look(self, checkpoint: CheckpointManifest) -> GenerationManifest | None:
        """The generation to use after a checkpoint, or None if it has yet to be mined.

        alternate: the first one mined from this very checkpoint, so that a round never changes it.
        overlap: the newest one there is.
        """
        alternate = self._config.training.mode == "alternate"
        found = None
        for number in reversed(self._publication.numbers()):
            manifest = self._publication.read(number)
            if alternate and manifest.checkpoint_step < checkpoint.step:
                break
            if self._fits(manifest) and (not alternate or manifest.weights_digest == checkpoint.weights_digest):
                found = manifest
                if not alternate:
                    break
        return found

    def _fits(self, manifest: GenerationManifest) -> bool:
        as_mined = manifest.mining.model_copy(update={"backend": self._config.mining.backend})
        return (manifest.corpus_fingerprint, manifest.seed, as_mined) == (
            self._corpus.fingerprint,
            self._config.seed,
            self._config.mining,
        )

    def wait(
        self,
        checkpoint: CheckpointManifest,
        agree: Callable[[int | None], int | None],
        tell: Callable[[str], None],
    ) -> tuple[GenerationManifest, float]:
        """Waits until there is a generation to use.

        Args:
            checkpoint: The newest one, which the generation follows.
            agree: Gives all workers the first one's find: generations may appear between two looks.
            tell: Called while waiting, with words for people.

        Returns:
            The generation, and the seconds waited.

        Raises:
            UnavailableError: None appeared within ``generation_timeout_s``.
        """
        start = time.monotonic()
        while True:
            found = self.look(checkpoint)
            number = agree(None if found is None else found.number)
            waited = time.monotonic() - start
            if number is not None:
                return self._publication.read(number), waited
            if waited > self._config.training.generation_timeout_s:
                raise UnavailableError(
                    f"no generation mined from checkpoint {checkpoint.step} appeared for {waited:.0f} s "
                    "(training.generation_timeout_s): run jobs.mine on this workspace, run, corpus and config"
                )
            tell(f"waiting for a generation mined from step {checkpoint.step} (jobs.mine)")
            time.sleep(_POLL_INTERVAL_S)

    def open_shard(self, segment: Segment) -> Mined:
        """Reads a shard and the neighbours table into what the batch builder takes."""
        generation = Generation(self._publication, self._publication.read(segment.generation))
        return to_mined(generation.shard(segment.shard), generation.neighbours(), self._corpus)


def to_mined(triplets: pa.Table, neighbours: pa.Table, corpus: Corpus) -> Mined:
    """Arrow tables to the arrays that ``training`` takes; label names become the corpus's codes."""
    anchor, positive, negative = (triplets[name].to_numpy() for name in ("anchor", "positive", "negative"))
    codes = {name: code for code, name in enumerate(corpus.label_names)}
    by_label: dict[int, list[int]] = {}
    for label, neighbour in zip(neighbours["label"].to_pylist(), neighbours["neighbour"].to_pylist(), strict=True):
        by_label.setdefault(codes[label], []).append(codes[neighbour])
    lists: dict[int, npt.NDArray[np.int32]] = {label: np.array(names, np.int32) for label, names in by_label.items()}
    return Mined(anchor, positive, negative, corpus.labels[anchor], corpus.labels[negative], lists)
