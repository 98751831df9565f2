"""The mining pass: blocks of anchors against all shards, and a sample of the answers against brute force.

A refresh calls, in this order: ``load_shards``, ``audit_shards``, ``search_blocks``, ``check_sample``.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.mining.positives import Pairs
from pipeline.mining.sampling import sample_anchors
from pipeline.mining.topk import Nearest
from pipeline.mining.triplets import Triplets
from pipeline.mining.verify import Agreement, compare
from pipeline.runtime.actor_pool import Task
from pipeline.runtime.remote import resolved
from pipeline.stages.mine.audit import AuditedCorpus
from pipeline.stages.mine.queries import AnchorBlock, build_negative_queries
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.search import Block, QuerySpec, run_search
from pipeline.stages.mine.worker import RefreshPool, RefreshWorker
from pipeline.triplets.reader import Generation, TripletStream
from pipeline.triplets.schema import from_arrow


def search_blocks(
    pool: RefreshPool, request: RefreshRequest, audited: AuditedCorpus, previous: Generation | None
) -> Iterator[Block]:
    """Mines, from old triplets where there are any; blocks come in order of anchors, computed as they are drawn."""
    specs = _query_specs(request, audited, previous)
    waiting: dict[int, Block] = {}
    next_block = 0
    for number, block in run_search(pool, request.config.cluster, audited.sharded, audited.search, specs):
        waiting[number] = block
        while next_block in waiting:
            yield waiting.pop(next_block)
            next_block += 1


def _query_specs(request: RefreshRequest, audited: AuditedCorpus, previous: Generation | None) -> Iterator[QuerySpec]:
    config, groups = request.config, audited.sharded.groups
    stream = TripletStream(previous) if previous is not None else None
    for start in range(0, len(groups.anchors_A), config.cluster.anchors_per_block):
        anchors = groups.anchors_A[start : start + config.cluster.anchors_per_block]
        needed = groups.same_label_ids(anchors)
        known: Triplets | None = None
        if stream is not None:
            known = from_arrow(stream.up_to(int(anchors[-1])))
            needed = np.union1d(needed, known.negative_T[groups.contains(known.negative_T)])
        min_distances = None if audited.min_distances is None else audited.min_distances.among(anchors)
        block = AnchorBlock(anchors, known, min_distances)
        args = (block, audited.sharded.shared_groups, config.mining, request.backend, config.seed)
        yield QuerySpec(build_negative_queries, args, needed)


class AnswerSample:
    """The mined answers of a sample of anchors, which brute force answers too."""

    def __init__(self, request: RefreshRequest, audited: AuditedCorpus) -> None:
        """Draws the anchors, by the run's seed and the checkpoint's step."""
        mining = request.config.mining
        self._anchors = sample_anchors(audited.sharded.groups.anchors_A, mining.verify_anchors, request.sample_seed)
        self._pairs: list[Pairs] = []
        self._nearest: list[Nearest] = []

    def add(self, block: Block) -> None:
        """Puts aside the pairs of a block whose anchors are in the sample."""
        rows = np.flatnonzero(np.isin(block.pairs.anchor_P, self._anchors))
        if len(rows):
            self._pairs.append(block.pairs.take(rows))
            self._nearest.append(block.nearest.take(rows))

    def answers(self) -> tuple[Pairs, Nearest] | None:
        """The sampled pairs and their mined negatives; None where there are none."""
        return (Pairs.concat(self._pairs), Nearest.concat(self._nearest)) if self._pairs else None


def check_sample(pool: RefreshPool, request: RefreshRequest, audited: AuditedCorpus, sample: AnswerSample) -> Agreement:
    """How the mined answers of a sample of anchors compare with brute force over the same candidates."""
    if (answers := sample.answers()) is None:
        return Agreement(0, 0)
    pairs, mined = answers
    config, sharded = request.config, audited.sharded
    min_distances = None if audited.min_distances is None else audited.min_distances.among(pairs.anchor_P)
    ids = np.unique(np.concatenate([pairs.anchor_P, pairs.positive_P, mined.id_PM[mined.found_PM]]))
    sources = sharded.vectors_of(config.cluster, ids, pool.nodes)
    groups, vectors = resolved(sharded.shared_groups), [resolved(source) for source in sources]
    args = (config.mining, pairs, groups, min_distances)
    tasks = (
        Task(index, RefreshWorker.brute_force, *args, resolved(shard.candidates), *vectors).with_affinity(shard.node)
        for index, shard in enumerate(sharded.shards)
    )
    expected = Nearest.empty(*mined.id_PM.shape)
    for _, nearest in pool.run(tasks):
        expected.merge(nearest)
    task = Task(0, RefreshWorker.check_consistency, config.mining, pairs, mined, groups, min_distances, *vectors)
    ((_, is_consistent_P),) = pool.run([task])
    return compare(mined, is_consistent_P, expected)
