"""The actor of a refresh: embeds as its base does, and searches a shard for what is asked about a block of anchors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.config import MiningConfig, RunConfig
from pipeline.failpoints import Failpoint, reach
from pipeline.mining.audit.suspects import MinDistances
from pipeline.mining.backends.registry import BACKENDS, ShardSearch, open_search
from pipeline.mining.positives import Pairs
from pipeline.mining.queries import Queries, build_queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.verify import brute_force, check_consistency
from pipeline.mining.warm_start import prune_bounds
from pipeline.runtime.actor_pool import ActorPool
from pipeline.stages.embed.worker import EncodeWorker


@dataclass(frozen=True)
class Search:
    """What is asked of every shard in one pass.

    Attributes:
        mining_pass: Names the pass: what actors keep belongs to one only.
        mining: What is mined; a curriculum changes it from refresh to refresh.
        backend: As ``resolve_backend`` gave it.
        num_negatives: How many are wanted for each pair.
    """

    mining_pass: str
    mining: MiningConfig
    backend: str
    num_negatives: int

    @property
    def keeps_shards(self) -> bool:
        """Whether a shard is for one actor, which keeps what it made of it; else for any on the node where it lies.

        Only what is searched exactly may be bounded by what another shard has found, so an index is for one, too.
        """
        backend = BACKENDS[self.backend]
        return backend.keeps_state or not backend.is_exact


class RefreshWorker(EncodeWorker):
    """Also holds one refresh's searches."""

    def __init__(self, config: RunConfig, corpus_number: int) -> None:
        """As an ``EncodeWorker``, with nothing searched."""
        super().__init__(config, corpus_number)
        self._searches: tuple[str, dict[int, ShardSearch]] = ("", {})

    def search_block(
        self, search: Search, numbers: tuple[int, ...], queries: Queries, *shards: Shard
    ) -> tuple[Nearest, int]:
        """Searches shards, one after the other, for the negatives of a block.

        They are read-only views of Ray's shared memory: a node holds them once.

        Args:
            search: What is asked.
            numbers: Of the shards.
            queries: The block's.
            *shards: Candidates.

        Returns:
            The nearest negatives found, and how many pairs an index handed to the scan.
        """
        nearest, num_handed_on = Nearest.empty(len(queries.row_P), search.num_negatives), 0
        for place, (number, candidates) in enumerate(zip(numbers, shards, strict=True)):
            asked = prune_bounds(queries, nearest) if place else queries
            found, handed_on = self._search(search, number, candidates)(asked, search.num_negatives)
            nearest.merge(found)
            num_handed_on += handed_on
        reach(Failpoint.BLOCK_SEARCHED)
        return nearest, num_handed_on

    def _search(self, search: Search, index: int, candidates: Shard) -> ShardSearch:
        if self._searches[0] != search.mining_pass:
            self._searches = (search.mining_pass, {})  # drops what belongs to another pass than this one
        if index not in self._searches[1]:
            self._searches[1][index] = open_search(search.mining, search.backend, candidates, self._device)
        return self._searches[1][index]

    def brute_force(
        self,
        mining: MiningConfig,
        pairs: Pairs,
        groups: LabelGroups,
        min_distances: MinDistances | None,
        candidates: Shard,
        *sources: Shard,
    ) -> Nearest:
        """A few pairs' nearest negatives in one shard, by brute force."""
        queries = build_queries(pairs, ShardedVectors(sources), groups, mining.band, min_distances)
        return brute_force(queries, candidates, mining.negatives_per_pair)

    def check_consistency(
        self,
        mining: MiningConfig,
        pairs: Pairs,
        nearest: Nearest,
        groups: LabelGroups,
        min_distances: MinDistances | None,
        *sources: Shard,
    ) -> npt.NDArray[np.bool_]:
        """Whether what was mined for a few pairs is what it says."""
        vectors = ShardedVectors(sources)
        return check_consistency(
            build_queries(pairs, vectors, groups, mining.band, min_distances), nearest, vectors, groups
        )

    def release(self) -> None:
        """Frees what a refresh needed: a trainer may share the device, and the next refresh has other weights."""
        self._searches = ("", {})
        self._encoder = None
        if self._device == "cuda":
            torch.cuda.empty_cache()


RefreshPool = ActorPool[RefreshWorker]
