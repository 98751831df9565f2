"""Search: blocks of anchors against all shards, each where it lies."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.config import ClusterConfig
from pipeline.mining.distance import Int64Array
from pipeline.mining.positives import Pairs
from pipeline.mining.topk import Nearest
from pipeline.runtime.actor_pool import Task
from pipeline.runtime.remote import Reference, fetch, resolved, submit_several
from pipeline.stages.mine.queries import Asked
from pipeline.stages.mine.shards import Loaded
from pipeline.stages.mine.worker import RefreshPool, RefreshWorker, Search


@dataclass(frozen=True)
class Question:
    """A block of anchors.

    Attributes:
        ask: Of ``questions``.
        args: Its arguments, before the vectors.
        ids: Whose vectors it takes, int64, ascending.
    """

    ask: Callable[..., Asked]
    args: tuple[Any, ...]
    ids: Int64Array


@dataclass
class Block:
    """The answers for a block of anchors, from some of the shards; complete when it is from all.

    Attributes:
        pairs: Its pairs.
        nearest: Their negatives, joined over the shards.
        num_handed_on: Pairs that an index handed to the scan, summed over the shards.
        num_shards: How many shards have answered.
    """

    pairs: Pairs
    nearest: Nearest
    num_handed_on: int = 0
    num_shards: int = 0

    def join(self, nearest: Nearest, num_handed_on: int) -> None:
        """Takes in the answer of one more shard."""
        self.nearest.join(nearest)
        self.num_handed_on += num_handed_on
        self.num_shards += 1


def run_search(
    pool: RefreshPool, config: ClusterConfig, loaded: Loaded, search: Search, questions: Iterable[Question]
) -> Iterator[tuple[int, Block]]:
    """Answers blocks; they come as they are complete, with their numbers, and are drawn as actors become free.

    Queries, which are small, are made on any node and travel to the shards.
    """
    pairs: dict[int, Reference] = {}
    blocks: dict[int, Block] = {}

    def asked() -> Iterator[tuple[int, Reference]]:
        for number, one in enumerate(questions):
            nodes = pool.nodes
            sources = loaded.vectors_of(config, one.ids, nodes)
            node = nodes[number % len(nodes)]
            queries, pairs[number] = submit_several(config, node, 2, one.ask, *one.args, *sources)
            yield number, queries

    def tasks() -> Iterator[Task[RefreshWorker, tuple[int, int], tuple[Nearest, int]]]:
        for number, queries in _ahead(asked(), pool.num_actors):
            for index, one in enumerate(loaded.shards):
                affinity = index % pool.num_actors if search.keeps_shards else one.node
                found = (search, index, resolved(one.candidates), resolved(queries))
                yield Task((number, index), RefreshWorker.search_block, *found).with_affinity(affinity)

    for (number, _), answer in pool.run(tasks()):
        if number not in blocks:
            asked_for, known = fetch(pairs.pop(number), config.stall_timeout_s)
            blocks[number] = Block(asked_for, known.copy())  # what Ray shares is read-only
        blocks[number].join(*answer)
        if blocks[number].num_shards == len(loaded.shards):
            yield number, blocks.pop(number)


def _ahead(asked: Iterator[tuple[int, Reference]], num_ahead: int) -> Iterator[tuple[int, Reference]]:
    """The same, drawn some items ahead, so that queries are being made while others are being answered."""
    drawn = deque(itertools.islice(asked, num_ahead))
    while drawn:
        yield drawn.popleft()
        drawn.extend(itertools.islice(asked, 1))
