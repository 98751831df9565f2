"""The corpus's training examples in Ray's shared memory, in shards: what a refresh audits and mines."""

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from pipeline.arrays import Int64Array
from pipeline.config import ClusterConfig, RunConfig
from pipeline.errors import InputError
from pipeline.mining.shards import LabelGroups
from pipeline.runtime.actor_pool import ActorPool
from pipeline.runtime.remote import Reference, fetch, resolved, submit, submit_several
from pipeline.stages.embed.mixture import Mixture
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.shard_loader import ShardStatistics, Span, drop_examples, load_shard, located, take_rows

_SHARD_BYTES = 64 * 2**20  # what an actor holds of its own while it loads a shard


@dataclass(frozen=True)
class LoadedShard:
    """A shard, where it lies.

    Attributes:
        shard: Reference to all that may be mined of it.
        candidates: To what is searched: the same, or a sample of it.
        first_id: Its first example.
        node: Id of the node that holds it.
    """

    shard: Reference
    candidates: Reference
    first_id: int
    node: str


@dataclass(frozen=True)
class ShardedCorpus:
    """The training examples in shards, and who shares a label. No vectors pass through the driver.

    Attributes:
        shards: In order of ids.
        groups: Who shares a label.
        shared_groups: The same for the actors.
    """

    shards: Sequence[LoadedShard]
    groups: LabelGroups
    shared_groups: Reference

    @classmethod
    def of(cls, shards: Sequence[LoadedShard], groups: LabelGroups) -> "ShardedCorpus":
        """Shares the groups with the actors.

        Raises:
            InputError: There is no triplet among them.
        """
        if len(groups.labels_G) < 2 or len(groups.anchors_A) == 0:
            raise InputError(
                f"the training examples have {len(groups.labels_G)} label(s) and {len(groups.anchors_A)} example(s) "
                "with a positive: mining needs two labels, one of them with two examples"
            )
        return cls(shards, groups, ray.put(groups))

    def vectors_of(self, config: ClusterConfig, ids_P: Int64Array, nodes: Collection[str]) -> list[Reference]:
        """What a process on one of some nodes needs to look up the vectors of some examples, int64, ascending.

        On one node these are the shards themselves, which its processes read in place; where there are more, copies of
        the rows, made where the shards lie: so a node holds its own shards and the blocks under way, not all vectors.
        """
        if len({*(shard.node for shard in self.shards), *nodes}) == 1:
            return [shard.shard for shard in self.shards]
        edges = np.searchsorted(ids_P, [shard.first_id for shard in self.shards[1:]])
        wanted = zip(np.split(ids_P, edges), self.shards, strict=True)
        return [submit(config, shard.node, take_rows, ids, resolved(shard.shard)) for ids, shard in wanted if len(ids)]


def load_shards(
    pool: ActorPool[Any], request: RefreshRequest, mixture: Mixture | None
) -> tuple[list[LoadedShard], ShardStatistics]:
    """Loads the training examples, spread over the nodes of the pool: shards in order of ids, and what they hold.

    With a mixture, a share of the examples stands with vectors of an older encoder.
    """
    config, corpus = request.config, request.job.corpus
    bounds = np.linspace(0, corpus.num_examples, num_shards(config, corpus.num_examples) + 1).astype(int)
    spans = [
        Span(request.embeddings_key, int(first), int(last), request.sample_seed, mixture)
        for first, last in itertools.pairwise(bounds)
        if first < last
    ]
    shared, number, nodes = ray.put(config), corpus.manifest.number, pool.nodes
    calls = ((nodes[index % len(nodes)], load_shard, (shared, number, span)) for index, span in enumerate(spans))
    shards: list[LoadedShard] = []
    statistics: list[ShardStatistics] = []
    for (shard, candidates), found, node in _call_on_nodes(config.cluster, calls, len(nodes)):
        statistics.append(found)
        if len(found.ids_N):  # a stretch of test labels alone leaves nothing to search
            searched = shard if config.mining.candidate_fraction == 1.0 else candidates
            shards.append(LoadedShard(shard, searched, int(found.ids_N[0]), node))
    return shards, ShardStatistics.concat(statistics)


def drop_from(
    config: RunConfig, sharded: ShardedCorpus, found: ShardStatistics, ids_R: npt.NDArray[np.int64]
) -> ShardedCorpus:
    """The same shards without some examples.

    Raises:
        InputError: What is left holds no triplet.
    """
    is_sampled = config.mining.candidate_fraction < 1.0
    shared = ray.put(ids_R)
    calls = (
        (shard.node, drop_examples, (shared, shard.shard, shard.candidates if is_sampled else None))
        for shard in sharded.shards
    )
    kept_N = ~np.isin(found.ids_N, ids_R)
    shards = []
    dropped = _call_on_nodes(config.cluster, calls, len(sharded.shards))
    for was, ((shard, candidates), num_left, node) in zip(sharded.shards, dropped, strict=True):
        if num_left:
            searched = candidates if is_sampled else shard
            shards.append(LoadedShard(shard, searched, was.first_id, node))
    try:
        return ShardedCorpus.of(shards, LabelGroups(found.ids_N[kept_N], found.labels_N[kept_N]))
    except InputError as error:
        raise InputError(
            f"without {len(ids_R):,} suspects of a wrong label, {error}; raise mining.audit.min_label_noise, or set "
            "mining.audit.quarantine report"
        ) from None


def _call_on_nodes(
    config: ClusterConfig, calls: Iterable[tuple[str, Callable[..., Any], tuple[Any, ...]]], num_at_once: int
) -> Iterator[tuple[Sequence[Reference], Any, str]]:
    """Calls functions that make two values, which stay, and a third; yields these and the node, in order of the calls.

    A call is (id of the wanted node, function, arguments). ``num_at_once`` are under way, as each holds memory.
    """
    running: deque[list[Reference]] = deque()
    for node, function, args in calls:
        running.append(submit_several(config, node, 3, located, function, *args))
        if len(running) == num_at_once:
            yield _awaited(config, running.popleft())
    while running:
        yield _awaited(config, running.popleft())


def _awaited(config: ClusterConfig, returned: list[Reference]) -> tuple[Sequence[Reference], Any, str]:
    *kept, last = returned
    value, node = fetch(last, config.stall_timeout_s)
    return kept, value, node


def num_shards(config: RunConfig, num_examples: int) -> int:
    """Shards of the corpus: what the config says; else one for each GPU, or enough to keep each small on CPUs."""
    if config.cluster.actor_device == "cuda":
        return config.cluster.num_shards or config.cluster.num_actors
    item = np.dtype(config.embed.dtype).itemsize
    total = num_examples * config.encoder.embedding_dim * item
    return config.cluster.num_shards or max(config.cluster.num_actors, -(-total // _SHARD_BYTES))
