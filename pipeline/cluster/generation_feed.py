"""Which generation, and which of its shards, a step trains on."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import TrainingConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import InputError, UnavailableError
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

    A round walks once through the generation's shards, in an order drawn from (seed, generation).
    """
    num_shards = len(manifest.parts_of("triplets"))
    round_end = min(round_start + config.steps_per_round, config.num_steps)
    length = -(-(round_end - round_start) // num_shards)
    place = (step - round_start) // length
    order = np.random.default_rng((_SHARD_ORDER_STREAM, seed, manifest.number)).permutation(num_shards)
    return Segment(manifest.number, int(order[place]), min(round_start + (place + 1) * length, round_end))


class GenerationChooser:
    """Finds the generation to train on, waiting for it where the mode says so."""

    def __init__(self, workspace: Workspace, corpus: Corpus, config: TrainingConfig) -> None:
        """Takes the run's workspace; reads nothing yet."""
        self._publication = generations(workspace)
        self._corpus, self._config = corpus, config

    def look(self, checkpoint: CheckpointManifest) -> GenerationManifest | None:
        """The generation to use after a checkpoint, or None if it has yet to be mined.

        alternate: the newest one mined from this very checkpoint. overlap: the newest one there is.
        """
        for number in reversed(self._publication.numbers()):
            manifest = self._publication.read(number)
            fits = self._config.mode == "overlap" or (manifest.checkpoint_step, manifest.weights_digest) == (
                checkpoint.step,
                checkpoint.weights_digest,
            )
            if fits:
                self._check(manifest)
                return manifest
            if manifest.checkpoint_step < checkpoint.step:
                return None
        return None

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
            if waited > self._config.generation_timeout_s:
                raise UnavailableError(
                    f"no generation mined from checkpoint {checkpoint.step} appeared for {waited:.0f} s "
                    "(training.generation_timeout_s): run jobs.mine on this workspace"
                )
            tell(f"waiting for a generation mined from step {checkpoint.step}")
            time.sleep(_POLL_INTERVAL_S)

    def open_shard(self, segment: Segment) -> Mined:
        """Reads a shard and the neighbours table into what the batch builder takes."""
        generation = Generation(self._publication, self._publication.read(segment.generation))
        return to_mined(generation.shard(segment.shard), generation.neighbours(), self._corpus)

    def _check(self, manifest: GenerationManifest) -> None:
        if manifest.corpus_fingerprint != self._corpus.fingerprint:
            raise InputError(
                f"generation {manifest.number} was mined from another corpus than the newest one in this workspace: "
                "run jobs.mine again, or train in another run"
            )


def to_mined(triplets: pa.Table, neighbours: pa.Table, corpus: Corpus) -> Mined:
    """Arrow tables to the arrays that ``training`` takes; label names become the corpus's codes."""
    anchor, positive, negative = (triplets[name].to_numpy() for name in ("anchor", "positive", "negative"))
    codes = {name: code for code, name in enumerate(corpus.label_names)}
    by_label: dict[int, list[int]] = {}
    for label, neighbour in zip(neighbours["label"].to_pylist(), neighbours["neighbour"].to_pylist(), strict=True):
        by_label.setdefault(codes[label], []).append(codes[neighbour])
    lists: dict[int, npt.NDArray[np.int32]] = {label: np.array(names, np.int32) for label, names in by_label.items()}
    return Mined(anchor, positive, negative, corpus.labels[anchor], corpus.labels[negative], lists)
