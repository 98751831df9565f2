"""Mine: blocks of anchors against shards of the corpus, over the pool, with one merge."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from pipeline.cluster.pool import ActorPool, Task
from pipeline.cluster.worker import ShardStatistics
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.mining.audit import audit
from pipeline.mining.merge import Nearest, merge
from pipeline.mining.positives import Pairs
from pipeline.mining.shards import LabelGroups
from pipeline.triplets.schema import QUARANTINE


@dataclass
class Mined:
    """A generation on its way to being published."""

    quarantine: pa.Table
    quarantined: dict[str, int]
    spread: float
    effective_rank: float
    num_anchors: int
    blocks: Iterator[tuple[Pairs, Nearest, int]]
    """Pairs, merged negatives and anchors handed to the scan; in order of anchors, computed as they are drawn."""


class Mine:
    """One mining pass over stored embeddings."""

    def __init__(self, pool: ActorPool, config: RunConfig, corpus: Corpus, key: str, backend: str) -> None:
        """Takes what is fixed for the pass."""
        self._pool, self._config, self._corpus, self._key, self._backend = pool, config, corpus, key, backend

    def run(self, embeddings: str) -> Mined:
        """Loads the shards into shared memory, audits them, and prepares the search."""
        shards, statistics = self._load_shards(embeddings)
        moments = statistics[0].moments
        for other in statistics[1:]:
            moments = moments + other.moments
        report = audit(moments, self._config.mining.min_spread)
        groups = LabelGroups(
            np.concatenate([one.ids_N for one in statistics]),
            np.concatenate([one.labels_N for one in statistics]),
        )
        if len(groups.labels_G) < 2 or len(groups.anchors_A) == 0:
            raise InputError(
                f"the training examples have {len(groups.labels_G)} label(s) and {len(groups.anchors_A)} example(s) "
                "with a positive: mining needs two labels, one of them with two examples"
            )
        quarantine, quarantined = _quarantine(
            non_finite_embedding=np.concatenate([one.non_finite for one in statistics]),
            singleton=groups.singletons,
        )
        blocks = self._search(groups, shards)
        return Mined(quarantine, quarantined, report.spread, report.effective_rank, len(groups.anchors_A), blocks)

    def _load_shards(self, embeddings: str) -> tuple[list["ray.ObjectRef[object]"], list[ShardStatistics]]:
        bounds = np.linspace(0, self._corpus.num_examples, self._config.cluster.num_shards + 1).astype(int)
        spans = [(int(first), int(last)) for first, last in itertools.pairwise(bounds) if first < last]
        tasks = (Task(i, "load_shard", (embeddings, first, last)) for i, (first, last) in enumerate(spans))
        shards: dict[int, ray.ObjectRef[object]] = {}
        statistics: dict[int, ShardStatistics] = {}
        for index, (shard, one) in self._pool.run(tasks):
            statistics[index] = one
            if len(shard):  # a stretch of test labels alone leaves nothing to search
                shards[index] = ray.put(shard)
        return [shards[index] for index in sorted(shards)], [statistics[index] for index in sorted(statistics)]

    def _search(
        self, groups: LabelGroups, shards: list["ray.ObjectRef[object]"]
    ) -> Iterator[tuple[Pairs, Nearest, int]]:
        size = self._config.cluster.anchors_per_block
        starts = range(0, len(groups.anchors_A), size)
        shared_groups = ray.put(groups)
        tasks = (
            Task(
                (block, index),
                "search_block",
                (
                    self._key,
                    block,
                    groups.anchors_A[start : start + size],
                    shared_groups,
                    index,
                    self._backend,
                    *shards,
                ),
            )
            for block, start in enumerate(starts)
            for index in range(len(shards))
        )
        pairs_of: dict[int, Pairs] = {}
        found_of: dict[int, tuple[Nearest, int, int]] = {}
        next_block = 0
        for (block, _), (pairs, found, handed_on) in self._pool.run(tasks):
            if pairs is not None:
                pairs_of[block] = pairs
            if block in found_of:
                before, num_shards, handed_before = found_of[block]
                found_of[block] = (merge(before, found), num_shards + 1, handed_before + handed_on)
            else:
                found_of[block] = (found, 1, handed_on)
            while next_block in found_of and found_of[next_block][1] == len(shards):
                nearest, _, handed = found_of.pop(next_block)
                yield pairs_of.pop(next_block), nearest, handed
                next_block += 1


def _quarantine(**reasons: npt.NDArray[np.int64]) -> tuple[pa.Table, dict[str, int]]:
    details = {
        "non_finite_embedding": "the encoder gave NaN or infinity: used neither as anchor nor as candidate",
        "singleton": "the only training example of its label: no positive, still a candidate",
    }
    tables = [
        pa.table([ids, [reason] * len(ids), [details[reason]] * len(ids)], schema=QUARANTINE)
        for reason, ids in reasons.items()
    ]
    return pa.concat_tables(tables), {reason: len(ids) for reason, ids in reasons.items()}
