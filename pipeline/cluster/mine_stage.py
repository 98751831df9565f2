"""Mine: blocks of anchors against shards of the corpus, over the pool, with one merge."""

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from pipeline.cluster.harmonic import Mixture, sample_seed
from pipeline.cluster.pool import ActorPool, Task
from pipeline.cluster.worker import ShardStatistics
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.mining.audit import AuditReport, audit
from pipeline.mining.merge import Nearest, merge
from pipeline.mining.positives import Pairs
from pipeline.mining.sampling import sample_anchors
from pipeline.mining.shards import LabelGroups
from pipeline.mining.verify import Agreement, compare
from pipeline.mining.warm_start import OldTriplets
from pipeline.triplets.quarantine import quarantine_rows
from pipeline.triplets.reader import Generation, TripletStream

_SHARD_BYTES = 64 * 2**20  # what an actor holds of its own while it loads a shard


@dataclass(frozen=True)
class Block:
    """The answers for a block of anchors from some of the shards; complete when it is from all.

    Attributes:
        pairs: Its pairs; empty until the first shard has answered.
        nearest: Their negatives, merged over the shards.
        num_handed_on: Pairs that an index handed to the scan, summed over the shards.
        num_shards: How many shards have answered.
    """

    pairs: Pairs
    nearest: Nearest
    num_handed_on: int
    num_shards: int = 1

    def __add__(self, other: "Block") -> "Block":
        return Block(
            self.pairs if len(self.pairs) else other.pairs,
            merge(self.nearest, other.nearest),
            self.num_handed_on + other.num_handed_on,
            self.num_shards + other.num_shards,
        )


@dataclass(frozen=True)
class _Loaded:
    """What was mined from: references into Ray's shared memory, and who is who."""

    shards: list["ray.ObjectRef[object]"]
    candidates: list["ray.ObjectRef[object]"]
    groups: LabelGroups
    shared_groups: "ray.ObjectRef[object]"


class Mine:
    """One mining pass over stored embeddings: construct, draw ``blocks``, then ask ``agreement``.

    Attributes:
        quarantine: What was left out, and why.
        quarantined: How many, by reason.
        report: What the audit saw.
        num_anchors: Anchors that will be answered.
    """

    def __init__(
        self,
        pool: ActorPool,
        config: RunConfig,
        corpus: Corpus,
        backend: str,
        embeddings: str,
        step: int,
        mixture: Mixture | None = None,
    ) -> None:
        """Loads the shards into shared memory and audits them.

        Args:
            pool: Actors.
            config: The run.
            corpus: The corpus.
            backend: As ``resolve_backend`` gave it.
            embeddings: Key of the stored embeddings.
            step: Step of the checkpoint; with the run's seed it chooses the samples.
            mixture: A share of the examples stands with vectors of an older encoder.

        Raises:
            AuditRefusedError: The embeddings cannot be mined.
            InputError: The training examples cannot form a triplet.
        """
        self._pool, self._config, self._backend = pool, config, backend
        self._pass = uuid.uuid4().hex
        self._sample_seed = sample_seed(config.seed, step)
        # What an actor makes of a shard is worth keeping: an index, or a copy on its GPU.
        self._keeps_shards = config.cluster.actor_device == "cuda" or backend == "faiss"
        shards, statistics = self._load_shards(corpus, embeddings, mixture)
        moments = statistics[0].moments
        for other in statistics[1:]:
            moments = moments + other.moments
        self.report: AuditReport = audit(moments, config.mining.min_spread)
        groups = LabelGroups(
            np.concatenate([one.ids_N for one in statistics]),
            np.concatenate([one.labels_N for one in statistics]),
        )
        if len(groups.labels_G) < 2 or len(groups.anchors_A) == 0:
            raise InputError(
                f"the training examples have {len(groups.labels_G)} label(s) and {len(groups.anchors_A)} example(s) "
                "with a positive: mining needs two labels, one of them with two examples"
            )
        self.quarantine, self.quarantined = _quarantine(
            non_finite_embedding=np.concatenate([one.non_finite for one in statistics]),
            zero_embedding=np.concatenate([one.zero for one in statistics]),
            singleton=groups.singletons,
        )
        self.num_anchors = len(groups.anchors_A)
        self._loaded = _Loaded([shard for shard, _ in shards], [one for _, one in shards], groups, ray.put(groups))
        self._sampled_anchors = sample_anchors(groups.anchors_A, config.mining.verify_anchors, self._sample_seed)
        self._sampled: list[tuple[Pairs, Nearest]] = []

    def _load_shards(
        self, corpus: Corpus, embeddings: str, mixture: Mixture | None
    ) -> tuple[list[tuple["ray.ObjectRef[object]", "ray.ObjectRef[object]"]], list[ShardStatistics]]:
        """References to (shard, its candidates), and statistics, in order of ids. No vectors pass through here."""
        bounds = np.linspace(0, corpus.num_examples, num_shards(self._config, corpus.num_examples) + 1).astype(int)
        spans = [(int(first), int(last)) for first, last in itertools.pairwise(bounds) if first < last]
        tasks = (
            Task(i, "load_shard", (embeddings, first, last, self._sample_seed, mixture), num_kept=2)
            for i, (first, last) in enumerate(spans)
        )
        shards: dict[int, tuple[ray.ObjectRef[object], ray.ObjectRef[object]]] = {}
        statistics: dict[int, ShardStatistics] = {}
        for index, (shard, candidates, one) in self._pool.run(tasks):
            statistics[index] = one
            if len(one.ids_N):  # a stretch of test labels alone leaves nothing to search
                shards[index] = (shard, shard if self._config.mining.candidate_fraction == 1.0 else candidates)
        return [shards[index] for index in sorted(shards)], [statistics[index] for index in sorted(statistics)]

    def blocks(self, previous: Generation | None) -> Iterator[Block]:
        """Mines; blocks come in order of anchors, computed as they are drawn.

        Args:
            previous: Begin from its triplets.
        """
        waiting: dict[int, Block] = {}
        next_block = 0
        for (block, _), found in self._pool.run(self._tasks(previous)):
            waiting[block] = waiting[block] + Block(*found) if block in waiting else Block(*found)
            while next_block in waiting and waiting[next_block].num_shards == len(self._loaded.shards):
                done = waiting.pop(next_block)
                self._keep_sample(done)
                yield done
                next_block += 1

    def _tasks(self, previous: Generation | None) -> Iterator[Task[tuple[int, int]]]:
        loaded, size = self._loaded, self._config.cluster.anchors_per_block
        old = TripletStream(previous) if previous is not None else None
        for block, start in enumerate(range(0, len(loaded.groups.anchors_A), size)):
            anchors = loaded.groups.anchors_A[start : start + size]
            known = _old_triplets(old.up_to(int(anchors[-1]))) if old is not None else None
            for index, candidates in enumerate(loaded.candidates):
                mining = self._config.mining
                task = (
                    self._pass,
                    block,
                    anchors,
                    loaded.shared_groups,
                    known,
                    index,
                    mining,
                    self._backend,
                    candidates,
                )
                preferred = index if self._keeps_shards else None
                yield Task((block, index), "search_block", (*task, *loaded.shards), preferred)

    def _keep_sample(self, block: Block) -> None:
        """Puts aside the pairs of a block that brute force will answer too."""
        kept = np.isin(block.pairs.anchor_P, self._sampled_anchors)
        pairs = Pairs(*(column[kept] for column in vars(block.pairs).values()))
        self._sampled.append((pairs, Nearest(block.nearest.d_an_PM[kept], block.nearest.id_PM[kept])))

    def agreement(self) -> Agreement:
        """How the mined answers of a sample of anchors compare with brute force over the same candidates."""
        sampled = [(pairs, nearest) for pairs, nearest in self._sampled if len(pairs)]
        if not sampled:
            return Agreement(0, 0)
        columns = zip(*(vars(pairs).values() for pairs, _ in sampled), strict=True)
        pairs = Pairs(*(np.concatenate(column) for column in columns))
        mined = Nearest(
            np.concatenate([one.d_an_PM for _, one in sampled]), np.concatenate([one.id_PM for _, one in sampled])
        )
        groups, shards, mining = self._loaded.shared_groups, self._loaded.shards, self._config.mining
        tasks = (
            Task(index, "answer_by_force", (mining, pairs, groups, candidates, *shards))
            for index, candidates in enumerate(self._loaded.candidates)
        )
        expected = Nearest.empty(*mined.id_PM.shape)
        for _, found in self._pool.run(tasks):
            expected = merge(expected, found)
        ((_, holds_P),) = self._pool.run([Task(0, "hold", (mining, pairs, mined, groups, *shards))])
        return compare(mined, holds_P, expected)


def _old_triplets(table: pa.Table) -> OldTriplets:
    return OldTriplets(*(table[name].to_numpy() for name in ("anchor", "positive", "negative")))


def num_shards(config: RunConfig, num_examples: int) -> int:
    """Shards of the corpus: what the config says; else one for each GPU, or enough to keep each small on CPUs."""
    if config.cluster.actor_device == "cuda":
        return config.cluster.num_shards or config.cluster.num_actors
    item = np.dtype(config.embed.dtype).itemsize
    total = num_examples * config.encoder.embedding_dim * item
    return config.cluster.num_shards or max(config.cluster.num_actors, -(-total // _SHARD_BYTES))


def _quarantine(
    *, singleton: npt.NDArray[np.int64], **broken: npt.NDArray[np.int64]
) -> tuple[pa.Table, dict[str, int]]:
    tables = [quarantine_rows(reason, ids, excluded=True) for reason, ids in broken.items()]
    tables.append(quarantine_rows("singleton", singleton, excluded=False))
    counts = {reason: len(ids) for reason, ids in broken.items()} | {"singleton": len(singleton)}
    return pa.concat_tables(tables), counts
