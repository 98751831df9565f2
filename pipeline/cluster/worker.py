"""The actor of a refresh: embeds as its base does, loads a shard, searches a shard for a block of anchors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.cluster.encode_worker import EncodeWorker
from pipeline.cluster.harmonic import Mixture, check_usable, is_old
from pipeline.config import MiningConfig, PositivesConfig, RunConfig
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.errors import CorruptDataError
from pipeline.failpoints import Failpoint, reach
from pipeline.mining.audit import Moments
from pipeline.mining.merge import Nearest, merge
from pipeline.mining.miner import ShardSearch, make_queries, neighbour_queries, shard_search
from pipeline.mining.positives import Pairs, nearest_positives, select_positives
from pipeline.mining.sampling import sample_candidates
from pipeline.mining.scan import Queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.surroundings import MOST_OWN
from pipeline.mining.suspects import Floors
from pipeline.mining.verify import brute_force, hold
from pipeline.mining.warm_start import OldTriplets, rescore, tighten

_SHORTEST = 0.5  # encoders give unit vectors; what is far shorter was zero before it was normalised
_BLOCKS_KEPT = 4  # an actor often searches several shards for one block


@dataclass(frozen=True)
class ShardStatistics:
    """What the driver needs to know of a shard without holding it.

    Attributes:
        ids_N: Eligible example ids, int64.
        labels_N: Their label codes, int32.
        non_finite: Ids left out because their embedding is not finite, int64.
        zero: Ids left out because their embedding is zero, int64.
        moments: For the audit: of the run's own vectors, also where others stand in for some of them.
    """

    ids_N: npt.NDArray[np.int64]
    labels_N: npt.NDArray[np.int32]
    non_finite: npt.NDArray[np.int64]
    zero: npt.NDArray[np.int64]
    moments: Moments


class RefreshWorker(EncodeWorker):
    """Also holds one refresh's searches."""

    def __init__(self, config: RunConfig, corpus_number: int) -> None:
        """As an ``EncodeWorker``, with nothing searched."""
        super().__init__(config, corpus_number)
        self._searches: tuple[str, dict[int, ShardSearch]] = ("", {})
        self._blocks: dict[int, tuple[Pairs, Queries, Nearest]] = {}

    def load_shard(
        self, key: str, first_id: int, last_id: int, sample_seed: int, mixture: Mixture | None = None
    ) -> tuple[Shard, Shard | None, ShardStatistics]:
        """Loads the training examples in [first_id, last_id) whose embeddings can be mined.

        Args:
            key: Of the embeddings.
            first_id: The first example.
            last_id: The one after the last.
            sample_seed: Seeds the samples of this pass.
            mixture: A share of the examples stands with vectors of an older encoder.

        Returns:
            The shard; the sample of it that is searched for negatives, or None where all of it is; and what the
            driver needs to know.
        """
        self._forget("")  # the searches of the refresh before hold its shards in shared memory
        num_dims = self._config.encoder.embedding_dim
        vectors = np.empty((last_id - first_id, num_dims), dtype=self._config.embed.dtype)
        ids, non_finite, zero, filled = [], [], [], 0
        for part_ids, stored in self._stored(key, first_id, last_id):
            train, finite = ~self._corpus.is_test[part_ids], np.isfinite(stored).all(axis=1)
            usable = finite & (np.einsum("nd,nd->n", stored, stored, dtype=np.float32) > _SHORTEST**2)
            kept = train & usable
            ids.append(part_ids[kept])
            non_finite.append(part_ids[train & ~finite])
            zero.append(part_ids[train & finite & ~usable])
            vectors[filled : filled + len(ids[-1])] = stored[kept]
            filled += len(ids[-1])
        ids_N = np.concatenate(ids)
        shard = Shard(ids_N, self._corpus.labels[ids_N], vectors[:filled])
        statistics = ShardStatistics(
            shard.ids_N, shard.labels_N, np.concatenate(non_finite), np.concatenate(zero), Moments.of(shard.vectors_ND)
        )
        if mixture is not None and mixture.share > 0.0:
            self._mix(shard, mixture, sample_seed)
        reach(Failpoint.SHARD_LOADED)
        fraction = self._config.mining.candidate_fraction
        return shard, None if fraction == 1.0 else sample_candidates(shard, fraction, sample_seed), statistics

    def _stored(
        self, key: str, first_id: int, last_id: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]]:
        """The stored vectors of the examples in [first_id, last_id), part by part, with their ids."""
        parts, num_dims = EmbeddingParts(self._workspace, key), self._config.encoder.embedding_dim
        for part in range(self._corpus.num_parts):
            span = self._corpus.part_ids(part)
            start, end = max(span.start, first_id), min(span.stop, last_id)
            if start >= end:
                continue
            stored = parts.read(part, span.start, len(span))[start - span.start : end - span.start]
            if stored.shape[1] != num_dims:
                raise CorruptDataError(
                    f"embedding part {part} of key {key} has {stored.shape[1]} dimensions, not {num_dims} as "
                    "encoder.embedding_dim says: delete the parts of this key and mine again"
                )
            yield np.arange(start, end, dtype=np.int64), stored

    def _mix(self, shard: Shard, mixture: Mixture, sample_seed: int) -> None:
        """Puts the old vectors of a share of a shard's examples in the place of the new ones."""
        if not len(shard):
            return
        old = is_old(shard.ids_N, mixture.share, sample_seed)
        for part_ids, stored in self._stored(mixture.key, int(shard.ids_N[0]), int(shard.ids_N[-1]) + 1):
            rows = np.flatnonzero(old & (shard.ids_N >= part_ids[0]) & (shard.ids_N <= part_ids[-1]))
            found = stored[shard.ids_N[rows] - part_ids[0]]
            check_usable(shard.ids_N[rows], found)
            shard.vectors_ND[rows] = found

    def search_block(
        self,
        mining_pass: str,
        block: int,
        anchors_A: npt.NDArray[np.int64],
        groups: LabelGroups,
        old: OldTriplets | None,
        floors: Floors | None,
        index: int,
        mining: MiningConfig,
        backend: str,
        candidates: Shard,
        *shards: Shard,
    ) -> tuple[Pairs, Nearest, int]:
        """Searches one shard for the negatives of a block of anchors.

        Args:
            mining_pass: Names the pass: what is kept belongs to one only.
            block: Number of the block.
            anchors_A: Its anchors.
            groups: Who shares a label.
            old: The anchors' triplets in the generation before, for a warm start.
            floors: How near a negative may not be to them.
            index: Number of the shard that is searched.
            mining: What is mined in this pass; a curriculum changes it from refresh to refresh.
            backend: As ``resolve_backend`` gave it.
            candidates: What is searched. A read-only view of Ray's shared memory: a node holds it once.
            *shards: All shards: anchors and positives may lie in any. Views too.

        Returns:
            The block's pairs (with shard 0 only: they are the same for all; else none), the nearest negatives found
            in the shard, and how many pairs an index handed to the scan.
        """
        search = self._search(mining_pass, index, mining, backend, candidates)
        pairs, queries, warm = self._prepare(block, anchors_A, groups, old, floors, mining, backend, shards)
        found, handed_on = search(queries, mining.negatives_per_pair)
        reach(Failpoint.BLOCK_SEARCHED)
        return (pairs, merge(found, warm), handed_on) if index == 0 else (Pairs.none(), found, handed_on)

    def list_neighbours(
        self,
        mining_pass: str,
        anchors_A: npt.NDArray[np.int64],
        groups: LabelGroups,
        index: int,
        mining: MiningConfig,
        backend: str,
        num_own: int,
        candidates: Shard,
        *shards: Shard,
    ) -> tuple[Pairs, Nearest, int]:
        """The nearest examples of their own label around a block of anchors, and of others in one shard.

        Args:
            mining_pass: See ``search_block``, as for all that is not named here.
            anchors_A: Singletons may be among them.
            groups: Who shares a label.
            index: Number of the shard.
            mining: Its audit says how many neighbours.
            backend: As ``resolve_backend`` gave it.
            num_own: How many of their own label, from all shards; with shard 0 only.
            candidates: What is searched.
            *shards: All shards.
        """
        vectors = ShardedVectors(shards)
        search = self._search(mining_pass, index, mining, backend, candidates)
        nearest, handed_on = search(neighbour_queries(anchors_A, vectors, groups), mining.audit.num_neighbours)
        if index > 0:
            return Pairs.none(), nearest, handed_on
        compared = PositivesConfig(policy="all", max_per_anchor=MOST_OWN)
        own = select_positives(compared, vectors, groups, anchors_A, self._config.seed)
        return nearest_positives(own, num_own), nearest, handed_on

    def drop_examples(
        self, ids_R: npt.NDArray[np.int64], shard: Shard, candidates: Shard | None
    ) -> tuple[Shard, Shard | None, int]:
        """A shard and its candidates without some examples, and how many are left of it."""
        left = shard.without(ids_R)
        return left, None if candidates is None else candidates.without(ids_R), len(left)

    def _search(
        self, mining_pass: str, index: int, mining: MiningConfig, backend: str, candidates: Shard
    ) -> ShardSearch:
        if self._searches[0] != mining_pass:
            self._forget(mining_pass)
        if index not in self._searches[1]:
            self._searches[1][index] = shard_search(mining, backend, candidates, self._device)
        return self._searches[1][index]

    def _prepare(
        self,
        block: int,
        anchors_A: npt.NDArray[np.int64],
        groups: LabelGroups,
        old: OldTriplets | None,
        floors: Floors | None,
        mining: MiningConfig,
        backend: str,
        shards: tuple[Shard, ...],
    ) -> tuple[Pairs, Queries, Nearest]:
        """The pairs of a block, what to ask about them, and what is known from the generation before."""
        if block not in self._blocks:
            while len(self._blocks) >= _BLOCKS_KEPT:
                self._blocks.pop(next(iter(self._blocks)))
            vectors = ShardedVectors(shards)
            pairs = select_positives(mining.positives, vectors, groups, anchors_A, self._config.seed)
            queries = make_queries(pairs, vectors, groups, mining.band, floors)
            warm = Nearest.empty(len(pairs), mining.negatives_per_pair)
            if old is not None:
                warm = rescore(old, pairs, queries, vectors, groups, mining.negatives_per_pair)
            # A shard's index cannot tell a band that was cut at a negative of another shard from one it fails in.
            self._blocks[block] = (pairs, queries if backend == "faiss" else tighten(queries, warm), warm)
        return self._blocks[block]

    def answer_by_force(
        self,
        mining: MiningConfig,
        pairs: Pairs,
        groups: LabelGroups,
        floors: Floors | None,
        candidates: Shard,
        *shards: Shard,
    ) -> Nearest:
        """A few pairs' nearest negatives in one shard, by brute force."""
        queries = make_queries(pairs, ShardedVectors(shards), groups, mining.band, floors)
        return brute_force(queries, candidates, mining.negatives_per_pair)

    def hold(
        self,
        mining: MiningConfig,
        pairs: Pairs,
        nearest: Nearest,
        groups: LabelGroups,
        floors: Floors | None,
        *shards: Shard,
    ) -> npt.NDArray[np.bool_]:
        """Whether what was mined for a few pairs is what it says."""
        vectors = ShardedVectors(shards)
        return hold(make_queries(pairs, vectors, groups, mining.band, floors), nearest, vectors, groups)

    def rest(self) -> None:
        """Gives back what a refresh needed: a trainer may share the device, and the next refresh has other weights."""
        self._forget("")
        self._encoder = None
        if self._device == "cuda":
            torch.cuda.empty_cache()

    def _forget(self, mining_pass: str) -> None:
        """Drops what belongs to another pass than this one."""
        self._searches = (mining_pass, {})
        self._blocks.clear()
