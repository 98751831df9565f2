"""Mine: blocks of anchors against shards of the corpus, over the pool, with one merge."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.mining.audit.moments import AuditReport, audit, check_broken
from pipeline.mining.audit.suspects import Floors, Suspects
from pipeline.mining.positives import Pairs
from pipeline.mining.sampling import sample_anchors
from pipeline.mining.shards import LabelGroups
from pipeline.mining.topk import Nearest
from pipeline.mining.verify import Agreement, compare
from pipeline.mining.warm_start import OldTriplets
from pipeline.runtime.actor_pool import Task
from pipeline.runtime.remote import resolved
from pipeline.stages.embed.mixture import Mixture, sample_seed
from pipeline.stages.mine.audit import search_suspects, suspect_rows
from pipeline.stages.mine.queries import ask_for_negatives
from pipeline.stages.mine.search import Block, Question, run_search
from pipeline.stages.mine.shard_loader import ShardStatistics
from pipeline.stages.mine.shards import Loaded, drop_from, load_shards
from pipeline.stages.mine.worker import RefreshPool, RefreshWorker, Search
from pipeline.triplets.quarantine import quarantine_rows
from pipeline.triplets.reader import Generation, TripletStream


class Mine:
    """One mining pass over stored embeddings: construct, draw ``blocks``, then ask ``agreement``.

    Attributes:
        quarantine: What was left out or is suspect, and why.
        quarantined: How many, by reason.
        report: What the audit saw of the embeddings.
        figures: What it saw of neighbours, by name.
        num_anchors: Anchors that will be answered.
    """

    def __init__(
        self,
        pool: RefreshPool,
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
        self._pool, self._config = pool, config
        # What an actor makes of a shard is worth keeping: an index, or a copy on its GPU.
        keeps_shards = config.cluster.actor_device == "cuda" or backend == "faiss"
        self._search = Search(uuid.uuid4().hex, config.mining, backend, config.mining.negatives_per_pair, keeps_shards)
        self._sample_seed = sample_seed(config.seed, step)
        shards, statistics = load_shards(pool, config, corpus, embeddings, self._sample_seed, mixture)
        rules = config.mining.audit
        check_broken(statistics.num_broken, statistics.num_broken + len(statistics.ids_N), rules)
        groups = LabelGroups(statistics.ids_N, statistics.labels_N)
        self._loaded = Loaded.of(shards, groups)
        self.report: AuditReport = audit(statistics.moments, len(groups.labels_G), rules)
        tables = [
            quarantine_rows("non_finite_embedding", statistics.non_finite, excluded=True),
            quarantine_rows("zero_embedding", statistics.zero, excluded=True),
        ]
        self.quarantined = {"non_finite_embedding": len(statistics.non_finite), "zero_embedding": len(statistics.zero)}
        self.figures: dict[str, float] = {}
        self._floors: Floors | None = None
        if rules.num_neighbours:
            suspects = search_suspects(pool, config, self._loaded, statistics, self.report.spread, self._search)
            rows, counts = suspect_rows(suspects, rules, corpus.label_names)
            tables, self.quarantined = tables + rows, self.quarantined | counts
            self.figures["neighbour_accuracy"] = suspects.neighbour_accuracy
            if rules.quarantine == "exclude":
                self._exclude(suspects, statistics)
        singletons = self._loaded.groups.singletons
        tables.append(quarantine_rows("singleton", singletons, excluded=False))
        self.quarantine, self.quarantined = pa.concat_tables(tables), self.quarantined | {"singleton": len(singletons)}
        self.num_anchors = len(self._loaded.groups.anchors_A)
        self._sampled_anchors = sample_anchors(
            self._loaded.groups.anchors_A, config.mining.verify_anchors, self._sample_seed
        )
        self._sampled: list[tuple[Pairs, Nearest]] = []

    def _exclude(self, suspects: Suspects, statistics: ShardStatistics) -> None:
        """Goes on without the suspects: mislabelled examples altogether, pairs by the floors of their anchors."""
        self._floors = suspects.floors
        if len(suspects.mislabelled.ids_R):
            self._loaded = drop_from(self._config, self._loaded, statistics, suspects.mislabelled.ids_R)
            self._search = replace(
                self._search, mining_pass=uuid.uuid4().hex
            )  # what actors made of the shards before is of no use

    def blocks(self, previous: Generation | None) -> Iterator[Block]:
        """Mines; blocks come in order of anchors, computed as they are drawn.

        Args:
            previous: Begin from its triplets.
        """
        waiting: dict[int, Block] = {}
        next_block = 0
        for number, found in run_search(
            self._pool, self._config.cluster, self._loaded, self._search, self._questions(previous)
        ):
            waiting[number] = found
            while next_block in waiting:
                done = waiting.pop(next_block)
                self._keep_sample(done)
                yield done
                next_block += 1

    def _questions(self, previous: Generation | None) -> Iterator[Question]:
        loaded, size = self._loaded, self._config.cluster.anchors_per_block
        old = TripletStream(previous) if previous is not None else None
        for start in range(0, len(loaded.groups.anchors_A), size):
            anchors = loaded.groups.anchors_A[start : start + size]
            needed = loaded.groups.mates(anchors)
            known = _old_triplets(old.up_to(int(anchors[-1]))) if old is not None else None
            if known is not None:
                negatives = known.negative_T[loaded.groups.contains(known.negative_T)]
                needed = np.union1d(needed, negatives)
            floors = None if self._floors is None else self._floors.among(anchors)
            search = self._search
            args = (anchors, loaded.shared_groups, known, floors, search.mining, search.backend, self._config.seed)
            yield Question(ask_for_negatives, args, needed)

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
        floors = None if self._floors is None else self._floors.among(pairs.anchor_P)
        loaded, mining = self._loaded, self._config.mining
        ids = np.unique(np.concatenate([pairs.anchor_P, pairs.positive_P, mined.id_PM[mined.found_PM]]))
        sources = loaded.vectors_of(self._config.cluster, ids, self._pool.nodes)
        groups, vectors = resolved(loaded.shared_groups), [resolved(source) for source in sources]
        asked = (mining, pairs, groups, floors)
        tasks = (
            Task(index, RefreshWorker.answer_by_force, *asked, resolved(one.candidates), *vectors).with_affinity(
                one.node
            )
            for index, one in enumerate(loaded.shards)
        )
        expected = Nearest.empty(*mined.id_PM.shape)
        for _, found in self._pool.run(tasks):
            expected.join(found)
        task = Task(0, RefreshWorker.hold, mining, pairs, mined, groups, floors, *vectors)
        ((_, holds_P),) = self._pool.run([task])
        return compare(mined, holds_P, expected)


def _old_triplets(table: pa.Table) -> OldTriplets:
    return OldTriplets(*(table[name].to_numpy() for name in ("anchor", "positive", "negative")))
