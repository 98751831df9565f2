"""Selects the generation to train on, and reads its tables as batch planners take them."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import AuditRefusedError, UnavailableError
from pipeline.mining.triplets import Triplets
from pipeline.stages.embed.mixture import is_old, sample_seed
from pipeline.storage.leases import Lease
from pipeline.storage.tombstones import read_or_tombstone
from pipeline.storage.workspace import Workspace
from pipeline.training.triplet_shard import Neighbours, TripletShard
from pipeline.triplets.neighbours import NeighbourTally
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.refusals import find_refusal
from pipeline.triplets.schema import GenerationManifest

TRIPLET_IDS = ("anchor", "positive", "negative")

_POLL_INTERVAL_S = 0.25
_NUM_PINNED = 2  # the generation in use, and its successor

T = TypeVar("T")


class Broadcast(Protocol):
    """Gives all workers the first worker's value: generations may appear while they look for them."""

    def __call__(self, value: T | None) -> T | None:
        """``value`` of the first worker."""
        ...


class GenerationSelector:
    """Finds the generation to train on, waiting for it where the mode says so.

    It takes only generations of the pinned corpus that were mined as the config says: whatever else other jobs publish
    in the run is not for this trainer.
    """

    def __init__(self, workspace: Workspace, corpus: Corpus, config: RunConfig, lease: Lease | None = None) -> None:
        """Reads nothing yet; ``lease``, the first worker's, keeps what is selected from being pruned."""
        self._workspace, self._generations = workspace, generations(workspace)
        self._corpus, self._config, self._lease = corpus, config, lease
        self._selected: tuple[GenerationManifest, ...] = ()
        self._opened: dict[int, Generation] = {}

    def find(self, checkpoint: CheckpointManifest) -> GenerationManifest | None:
        """The generation to use after a checkpoint, or None if it has yet to be mined.

        alternate: the first one mined from this very checkpoint, so that a round never changes it.
        overlap: the newest one there is.
        """
        alternate = self._config.training.mode == "alternate"
        found = None
        for manifest in self._generations.newest_first():
            if alternate and manifest.checkpoint_step < checkpoint.step:
                break
            matches = manifest.weights_digest == checkpoint.weights_digest
            if self._fits(manifest, checkpoint) and (matches or not alternate):
                found = manifest
                if not alternate:
                    break
        return found

    def select(self, checkpoint: CheckpointManifest) -> int | None:
        """The number of what ``find`` finds, from now on pinned with its parent."""
        found = self.find(checkpoint)
        if found is None or self._lease is None or found in self._selected:
            return None if found is None else found.number
        self._selected = (found, *self._selected[: _NUM_PINNED - 1])  # the one in use is still needed
        numbers = {n for manifest in self._selected for n in (manifest.number, manifest.parent) if n is not None}
        self._lease.set_pins(*(self._generations.manifest_key(number) for number in numbers))
        return found.number if found.number in self._generations.numbers() else None  # it may be pruned by now

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
        self, checkpoint: CheckpointManifest, broadcast: Broadcast, report: Callable[[str], None]
    ) -> tuple[int, float]:
        """Waits until there is a generation to use after the newest checkpoint, and tells ``report`` so meanwhile.

        Returns:
            The generation's number, and the seconds waited.

        Raises:
            AuditRefusedError: What it waits for was refused by the audit: it will not appear.
            UnavailableError: None appeared within ``generation_timeout_s``.
        """
        start = time.monotonic()
        while True:
            number = broadcast(self.select(checkpoint))
            waited = time.monotonic() - start
            if number is not None:
                return number, waited
            if (reason := broadcast(self._refusal_reason(checkpoint))) is not None:
                raise AuditRefusedError(f"no generation can be mined from checkpoint {checkpoint.step}: {reason}")
            if waited > self._config.training.generation_timeout_s:
                raise UnavailableError(
                    f"no generation mined from checkpoint {checkpoint.step} appeared for {waited:.0f} s "
                    "(training.generation_timeout_s): run jobs.mine on this workspace, run, corpus and config"
                )
            report(f"waiting for a generation mined from step {checkpoint.step} (jobs.mine)")
            time.sleep(_POLL_INTERVAL_S)

    def _refusal_reason(self, checkpoint: CheckpointManifest) -> str | None:
        """Why the audit refused to mine this checkpoint as the config says, if it did."""
        refusal = find_refusal(self._workspace, checkpoint.step, checkpoint.weights_digest)
        if refusal is None or refusal.corpus_fingerprint != self._corpus.fingerprint:
            return None
        wanted = self._config.at_step(checkpoint.step).mining
        matches = refusal.mining.model_copy(update={"backend": wanted.backend}) == wanted
        return refusal.reason if matches else None

    def open_shard(self, number: int, shard: int) -> TripletShard:
        """Reads a shard (modulo their number) and the neighbours table."""
        generation = self.open(number)
        triplets = generation.shard(shard % generation.num_shards)
        columns = {name: triplets[name].to_numpy() for name in TRIPLET_IDS}
        return _to_triplet_shard(number, columns, generation.neighbours(), self._corpus)

    def uses_old_vectors(self, number: int, ids_N: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which examples had their old vector when a generation was mined, bool, shape (N,)."""
        manifest = self.open(number).manifest
        return is_old(ids_N, manifest.old_share, sample_seed(manifest.seed, manifest.checkpoint_step))

    def parent(self, manifest: GenerationManifest) -> int | None:
        """The newest generation when this one was mined, if it is of the pinned corpus."""
        number = manifest.parent
        if number is None or self.open(number).manifest.corpus_fingerprint != self._corpus.fingerprint:
            return None
        return number

    def open(self, number: int) -> Generation:
        """A generation whose manifest is read once: if it is pruned while it is in use, its parts are still there."""
        if number not in self._opened:
            while len(self._opened) >= 2 * _NUM_PINNED:
                self._opened.pop(next(iter(self._opened)))
            self._opened[number] = Generation(self._generations, read_or_tombstone(self._generations, number))
        return self._opened[number]


def in_memory_shard(number: int, triplets: Triplets, corpus: Corpus, neighbours_per_label: int) -> TripletShard:
    """Triplets that were mined in this process, as a generation of them would be read."""
    labels_N = corpus.labels
    tally = NeighbourTally(len(corpus.label_names))
    tally.add(labels_N[triplets.anchor_T], labels_N[triplets.negative_T], triplets.d_an_T)
    columns = {name: getattr(triplets, f"{name}_T") for name in TRIPLET_IDS}
    return _to_triplet_shard(number, columns, tally.table(corpus.label_names, neighbours_per_label), corpus)


def _to_triplet_shard(
    number: int, triplets: Mapping[str, npt.NDArray[np.int64]], neighbours: pa.Table, corpus: Corpus
) -> TripletShard:
    """Columns of triplets and the neighbours table to what ``training`` takes; label names become codes."""
    anchor, positive, negative = (triplets[name] for name in TRIPLET_IDS)
    labels_N, known = corpus.labels, pa.array(corpus.label_names, pa.string())
    label_R, neighbour_R = (
        pc.index_in(neighbours[column], value_set=known).to_numpy().astype(np.int32)
        for column in ("label", "neighbour")
    )
    order = np.argsort(label_R, kind="stable")
    table = Neighbours(label_R[order], neighbour_R[order])
    return TripletShard(number, anchor, positive, negative, labels_N[anchor], labels_N[negative], table)
