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

_SHARDS_IN_TURN = 8
_CANDIDATES_IN_TURN = 1 << 20
"""Shards of a node that one actor searches for a block, each for better than what those before it had; no more than
have so many candidates.

A search that begins with nothing looks at some ln N candidates a pair. Larger groups would leave actors without a task
where blocks are few, and make tasks long: a lost actor loses one, and a stall is noticed after several.
"""


@dataclass(frozen=True)
class ShardGroup:
    """Shards that one task searches.

    Attributes:
        numbers: Which of the corpus's they are, ascending.
        affinity: The actor, or the node, that should.
        candidates: References to them.
    """

    numbers: tuple[int, ...]
    affinity: int | str
    candidates: tuple[Reference, ...]


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
        num_answers: How many groups of shards have answered.
    """

    pairs: Pairs
    nearest: Nearest
    num_handed_on: int = 0
    num_answers: int = 0

    def merge(self, nearest: Nearest, num_handed_on: int) -> None:
        """Takes in the answer of some more shards."""
        self.nearest.merge(nearest)
        self.num_handed_on += num_handed_on
        self.num_answers += 1


def run_search(
    pool: RefreshPool, config: ClusterConfig, corpus: ShardedCorpus, search: Search, specs: Iterable[QuerySpec]
) -> Iterator[tuple[int, Block]]:
    """Answers blocks; they come as they are complete, with their numbers, and are drawn as actors become free.

    Queries, which are small, are made on any node and travel to the shards.
    """
    groups = _groups(pool, corpus, search)
    pairs: dict[int, Reference] = {}
    blocks: dict[int, Block] = {}

    def built() -> Iterator[tuple[int, Reference]]:
        for number, spec in enumerate(specs):
            nodes = pool.nodes
            sources = corpus.vectors_of(config, spec.ids, nodes)
            node = nodes[number % len(nodes)]
            queries, pairs[number] = submit_several(config, node, 2, spec.build, *spec.args, *sources)
            yield number, queries

    def tasks() -> Iterator[Task[RefreshWorker, tuple[int, tuple[int, ...]], tuple[Nearest, int]]]:
        for number, queries in _ahead(built(), pool.num_actors):
            for group in groups:
                args = (search, group.numbers, resolved(queries), *map(resolved, group.candidates))
                yield Task((number, group.numbers), RefreshWorker.search_block, *args).with_affinity(group.affinity)

    for (number, _), answer in pool.run(tasks()):
        if number not in blocks:
            block_pairs, known = fetch(pairs.pop(number), config.stall_timeout_s)
            blocks[number] = Block(block_pairs, known.copy())  # what Ray shares is read-only
        blocks[number].merge(*answer)
        if blocks[number].num_answers == len(groups):
            yield number, blocks.pop(number)


def _groups(pool: RefreshPool, corpus: ShardedCorpus, search: Search) -> list[ShardGroup]:
    if search.keeps_shards:
        return [
            ShardGroup((number,), number % pool.num_actors, (shard.candidates,))
            for number, shard in enumerate(corpus.shards)
        ]
    together = shards_in_turn(len(corpus.shards), len(corpus.groups.ids_N))
    nodes: dict[str, list[int]] = {}
    for number, shard in enumerate(corpus.shards):
        nodes.setdefault(shard.node, []).append(number)
    return [
        ShardGroup(tuple(numbers), node, tuple(corpus.shards[number].candidates for number in numbers))
        for node, of_node in nodes.items()
        for start in range(0, len(of_node), together)
        if (numbers := of_node[start : start + together])
    ]


def shards_in_turn(num_shards: int, num_candidates: float) -> int:
    """How many shards a task searches, of a search that keeps none."""
    return max(1, min(_SHARDS_IN_TURN, int(_CANDIDATES_IN_TURN * num_shards / max(num_candidates, 1.0))))


def _ahead(queries: Iterator[tuple[int, Reference]], num_ahead: int) -> Iterator[tuple[int, Reference]]:
    """The same, drawn some items ahead, so that queries are being built while others are being answered."""
    drawn = deque(itertools.islice(queries, num_ahead))
    while drawn:
        yield drawn.popleft()
        drawn.extend(itertools.islice(queries, 1))
