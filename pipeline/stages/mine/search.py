"""Search: blocks of anchors against all shards, each where it lies."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.arrays import Int64Array
from pipeline.config import ClusterConfig
from pipeline.mining.positives import Pairs
from pipeline.mining.topk import Nearest
from pipeline.runtime.actor_pool import Task
from pipeline.runtime.remote import Reference, fetch, resolved, submit_several
from pipeline.stages.mine.queries import BlockQueries
from pipeline.stages.mine.shards import ShardedCorpus
from pipeline.stages.mine.worker import RefreshPool, RefreshWorker, Search


@dataclass(frozen=True)
class QuerySpec:
    """How the queries of a block of anchors are built.

    Attributes:
        build: Of ``queries``.
        args: Its arguments, before the vectors.
        ids: Whose vectors it takes, int64, ascending.
    """

    build: Callable[..., BlockQueries]
    args: tuple[Any, ...]
    ids: Int64Array


@dataclass
class Block:
    """The answers for a block of anchors, from some of the shards; complete when it is from all.

    Attributes:
        pairs: Its pairs.
        nearest: Their negatives, merged over the shards.
        num_handed_on: Pairs that an index handed to the scan, summed over the shards.
        num_shards: How many shards have answered.
    """

    pairs: Pairs
    nearest: Nearest
    num_handed_on: int = 0
    num_shards: int = 0

    def merge(self, nearest: Nearest, num_handed_on: int) -> None:
        """Takes in the answer of one more shard."""
        self.nearest.merge(nearest)
        self.num_handed_on += num_handed_on
        self.num_shards += 1


def run_search(
    pool: RefreshPool, config: ClusterConfig, corpus: ShardedCorpus, search: Search, specs: Iterable[QuerySpec]
) -> Iterator[tuple[int, Block]]:
    """Answers blocks; they come as they are complete, with their numbers, and are drawn as actors become free.

    Queries, which are small, are made on any node and travel to the shards.
    """
    pairs: dict[int, Reference] = {}
    blocks: dict[int, Block] = {}

    def built() -> Iterator[tuple[int, Reference]]:
        for number, spec in enumerate(specs):
            nodes = pool.nodes
            sources = corpus.vectors_of(config, spec.ids, nodes)
            node = nodes[number % len(nodes)]
            queries, pairs[number] = submit_several(config, node, 2, spec.build, *spec.args, *sources)
            yield number, queries

    def tasks() -> Iterator[Task[RefreshWorker, tuple[int, int], tuple[Nearest, int]]]:
        for number, queries in _ahead(built(), pool.num_actors):
            for index, shard in enumerate(corpus.shards):
                affinity = index % pool.num_actors if search.keeps_shards else shard.node
                args = (search, index, resolved(shard.candidates), resolved(queries))
                yield Task((number, index), RefreshWorker.search_block, *args).with_affinity(affinity)

    for (number, _), answer in pool.run(tasks()):
        if number not in blocks:
            block_pairs, known = fetch(pairs.pop(number), config.stall_timeout_s)
            blocks[number] = Block(block_pairs, known.copy())  # what Ray shares is read-only
        blocks[number].merge(*answer)
        if blocks[number].num_shards == len(corpus.shards):
            yield number, blocks.pop(number)


def _ahead(queries: Iterator[tuple[int, Reference]], num_ahead: int) -> Iterator[tuple[int, Reference]]:
    """The same, drawn some items ahead, so that queries are being built while others are being answered."""
    drawn = deque(itertools.islice(queries, num_ahead))
    while drawn:
        yield drawn.popleft()
        drawn.extend(itertools.islice(queries, 1))
