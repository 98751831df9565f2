"""Which generation to train on, and its tables as the batch builder takes them."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import BandConfig, RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import AuditRefusedError, UnavailableError
from pipeline.stages.embed.mixture import is_old, sample_seed
from pipeline.storage.leases import Lease
from pipeline.storage.retired import read_even_retired
from pipeline.storage.workspace import Workspace
from pipeline.training.triplet_shard import Neighbours, TripletShard
from pipeline.triplets.quarantine import excluded_examples
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.refusals import find_refusal
from pipeline.triplets.schema import GenerationManifest

TRIPLET_IDS = ("anchor", "positive", "negative")

_POLL_INTERVAL_S = 0.25
_NUM_PINNED = 2  # the one in use, and its successor


T = TypeVar("T")


class Agree(Protocol):
    """Gives all workers the first one's find: generations may appear between two looks."""

    def __call__(self, found: T | None) -> T | None:
        """``found`` of the first worker."""
        ...


class GenerationSelector:
    """Finds the generation to train on, waiting for it where the mode says so.

    Only generations of the pinned corpus, mined as the config says, are looked at: whatever else other jobs publish
    in the run is not for this trainer.
    """

    def __init__(self, workspace: Workspace, corpus: Corpus, config: RunConfig, lease: Lease | None = None) -> None:
        """Takes the run's workspace; reads nothing yet.

        Args:
            workspace: The run's.
            corpus: The pinned corpus.
            config: The run.
            lease: Pins what is chosen, so that it is not pruned while it is trained on; the first worker's.
        """
        self._workspace, self._publication = workspace, generations(workspace)
        self._corpus, self._config, self._lease = corpus, config, lease
        self._chosen: tuple[GenerationManifest, ...] = ()
        self._opened: dict[int, Generation] = {}

    def look(self, checkpoint: CheckpointManifest) -> GenerationManifest | None:
        """The generation to use after a checkpoint, or None if it has yet to be mined.

        alternate: the first one mined from this very checkpoint, so that a round never changes it.
        overlap: the newest one there is.
        """
        alternate = self._config.training.mode == "alternate"
        found = None
        for manifest in self._publication.newest_first():
            if alternate and manifest.checkpoint_step < checkpoint.step:
                break
            is_of_it = manifest.weights_digest == checkpoint.weights_digest
            if self._fits(manifest, checkpoint) and (is_of_it or not alternate):
                found = manifest
                if not alternate:
                    break
        return found

    def choose(self, checkpoint: CheckpointManifest) -> int | None:
        """The number of what ``look`` finds, from now on pinned with the generation before it."""
        found = self.look(checkpoint)
        if found is None or self._lease is None or found in self._chosen:
            return None if found is None else found.number
        self._chosen = (found, *self._chosen[: _NUM_PINNED - 1])  # the one in use is still needed
        numbers = {number for one in self._chosen for number in (one.number, one.parent) if number is not None}
        self._lease.pin(*(self._publication.manifest_key(number) for number in numbers))
        return found.number if found.number in self._publication.numbers() else None  # it may have retired just before

    def _fits(self, manifest: GenerationManifest, checkpoint: CheckpointManifest) -> bool:
        wanted = self._config.at_step(manifest.checkpoint_step).mining
        as_mined = manifest.mining.model_copy(update={"backend": wanted.backend})
        harmonic = self._config.harmonic
        return (manifest.corpus_fingerprint, manifest.seed, as_mined, manifest.harmonic, manifest.old_share) == (
            self._corpus.fingerprint,
            self._config.seed,
            wanted,
            checkpoint.harmonic,
            0.0 if harmonic is None else harmonic.mined_share,
        )

    def wait(
        self,
        checkpoint: CheckpointManifest,
        agree: Agree,
        tell: Callable[[str], None],
    ) -> tuple[GenerationManifest, float]:
        """Waits until there is a generation to use.

        Args:
            checkpoint: The newest one, which the generation follows.
            agree: Between workers.
            tell: Called while waiting, with words for people.

        Returns:
            The generation, and the seconds waited.

        Raises:
            AuditRefusedError: What it waits for was refused by the audit: it will not appear.
            UnavailableError: None appeared within ``generation_timeout_s``.
        """
        start = time.monotonic()
        while True:
            number = agree(self.choose(checkpoint))
            waited = time.monotonic() - start
            if number is not None:
                return self._open(number).manifest, waited
            if (reason := agree(self._refused(checkpoint))) is not None:
                raise AuditRefusedError(f"no generation can be mined from checkpoint {checkpoint.step}: {reason}")
            if waited > self._config.training.generation_timeout_s:
                raise UnavailableError(
                    f"no generation mined from checkpoint {checkpoint.step} appeared for {waited:.0f} s "
                    "(training.generation_timeout_s): run jobs.mine on this workspace, run, corpus and config"
                )
            tell(f"waiting for a generation mined from step {checkpoint.step} (jobs.mine)")
            time.sleep(_POLL_INTERVAL_S)

    def _refused(self, checkpoint: CheckpointManifest) -> str | None:
        """Why the audit refused to mine this checkpoint as the config says, if it did."""
        refusal = find_refusal(self._workspace, checkpoint.step, checkpoint.weights_digest)
        if refusal is None or refusal.corpus_fingerprint != self._corpus.fingerprint:
            return None
        wanted = self._config.at_step(checkpoint.step).mining
        is_of_it = refusal.mining.model_copy(update={"backend": wanted.backend}) == wanted
        return refusal.reason if is_of_it else None

    def num_shards(self, number: int) -> int:
        """Shards of a generation."""
        return self._open(number).num_shards

    def open_shard(self, number: int, shard: int) -> TripletShard:
        """Reads a shard (modulo their number) and the neighbours table into what the batch builder takes."""
        generation = self._open(number)
        triplets = generation.shard(shard % generation.num_shards)
        columns = {name: triplets[name].to_numpy() for name in TRIPLET_IDS}
        return to_triplet_shard(number, columns, generation.neighbours(), self._corpus.labels, self._corpus.label_names)

    def band(self, number: int) -> BandConfig:
        """What a generation was mined for."""
        return self._open(number).manifest.mining.band

    def mined_from(self, number: int) -> int:
        """Step of the checkpoint that a generation was mined from."""
        return self._open(number).manifest.checkpoint_step

    def stands_old(self, number: int, ids_N: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which examples stood with their old vector when a generation was mined, bool, shape (N,)."""
        manifest = self._open(number).manifest
        return is_old(ids_N, manifest.old_share, sample_seed(manifest.seed, manifest.checkpoint_step))

    def quarantined(self, number: int) -> npt.NDArray[np.int64]:
        """Examples that a generation left out in every role, int64, ascending."""
        return excluded_examples(self._open(number).quarantine())

    def before(self, number: int) -> int | None:
        """The generation that the miner found when it made this one, if it is of the pinned corpus."""
        parent = self._open(number).manifest.parent
        if parent is None or self._open(parent).manifest.corpus_fingerprint != self._corpus.fingerprint:
            return None
        return parent

    def _open(self, number: int) -> Generation:
        """A generation whose manifest is read once: should it retire while it is in use, its parts are still there."""
        if number not in self._opened:
            while len(self._opened) >= 2 * _NUM_PINNED:
                self._opened.pop(next(iter(self._opened)))
            self._opened[number] = Generation(self._publication, read_even_retired(self._publication, number))
        return self._opened[number]


def to_triplet_shard(
    number: int,
    triplets: Mapping[str, npt.NDArray[np.int64]],
    neighbours: pa.Table,
    labels_N: npt.NDArray[np.int32],
    names: list[str],
) -> TripletShard:
    """Columns of triplets and the neighbours table to what ``training`` takes; label names become codes."""
    anchor, positive, negative = (triplets[name] for name in TRIPLET_IDS)
    known = pa.array(names, pa.string())
    label_R, neighbour_R = (
        pc.index_in(neighbours[column], value_set=known).to_numpy().astype(np.int32)
        for column in ("label", "neighbour")
    )
    order = np.argsort(label_R, kind="stable")
    table = Neighbours(label_R[order], neighbour_R[order])
    return TripletShard(number, anchor, positive, negative, labels_N[anchor], labels_N[negative], table)
