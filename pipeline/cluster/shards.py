"""The corpus's training examples in Ray's shared memory, in shards: what a refresh audits and mines."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import ray

from pipeline.cluster.harmonic import Mixture
from pipeline.cluster.pool import ActorPool, Task
from pipeline.cluster.worker import ShardStatistics
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.mining.audit import Moments
from pipeline.mining.shards import LabelGroups

_SHARD_BYTES = 64 * 2**20  # what an actor holds of its own while it loads a shard


@dataclass(frozen=True)
class Loaded:
    """References into shared memory, and who is who. No vectors pass through the driver.

    Attributes:
        shards: All that may be mined, in order of ids.
        candidates: What is searched of each: itself, or a sample of it.
        groups: Who shares a label.
        shared_groups: The same for the actors.
    """

    shards: list["ray.ObjectRef[object]"]
    candidates: list["ray.ObjectRef[object]"]
    groups: LabelGroups
    shared_groups: "ray.ObjectRef[object]"

    @classmethod
    def of(
        cls,
        shards: Sequence[tuple["ray.ObjectRef[object]", "ray.ObjectRef[object]"]],
        groups: LabelGroups,
    ) -> "Loaded":
        """Shares who is who.

        Raises:
            InputError: There is no triplet among them.
        """
        if len(groups.labels_G) < 2 or len(groups.anchors_A) == 0:
            raise InputError(
                f"the training examples have {len(groups.labels_G)} label(s) and {len(groups.anchors_A)} example(s) "
                "with a positive: mining needs two labels, one of them with two examples"
            )
        return cls([shard for shard, _ in shards], [one for _, one in shards], groups, ray.put(groups))


@dataclass(frozen=True)
class Census:
    """What the shards were found to hold.

    Attributes:
        ids_N: Examples that may be mined, int64, ascending.
        labels_N: Their label codes, int32.
        non_finite: Ids of training examples whose embedding is not finite, int64.
        zero: Ids of those whose embedding is zero, int64.
        moments: Of the embeddings that may be mined.
    """

    ids_N: npt.NDArray[np.int64]
    labels_N: npt.NDArray[np.int32]
    non_finite: npt.NDArray[np.int64]
    zero: npt.NDArray[np.int64]
    moments: Moments

    @property
    def num_broken(self) -> int:
        """Training examples whose embedding cannot be mined."""
        return len(self.non_finite) + len(self.zero)

    @classmethod
    def of(cls, statistics: Sequence[ShardStatistics]) -> "Census":
        """Adds up shards, in order of ids."""
        moments = statistics[0].moments
        for other in statistics[1:]:
            moments = moments + other.moments
        return cls(
            np.concatenate([one.ids_N for one in statistics]),
            np.concatenate([one.labels_N for one in statistics]),
            np.concatenate([one.non_finite for one in statistics]),
            np.concatenate([one.zero for one in statistics]),
            moments,
        )


ShardReferences = list[tuple["ray.ObjectRef[object]", "ray.ObjectRef[object]"]]


def load_shards(
    pool: ActorPool, config: RunConfig, corpus: Corpus, embeddings: str, sample_seed: int, mixture: Mixture | None
) -> tuple[ShardReferences, Census]:
    """Loads the training examples.

    Args:
        pool: Actors.
        config: The run.
        corpus: The corpus.
        embeddings: Key of the stored embeddings.
        sample_seed: Seeds the sample of candidates.
        mixture: A share of the examples stands with vectors of an older encoder.

    Returns:
        References to (shard, its candidates) in order of ids, and what they hold.
    """
    bounds = np.linspace(0, corpus.num_examples, num_shards(config, corpus.num_examples) + 1).astype(int)
    spans = [(int(first), int(last)) for first, last in itertools.pairwise(bounds) if first < last]
    tasks = (
        Task(i, "load_shard", (embeddings, first, last, sample_seed, mixture), num_kept=2)
        for i, (first, last) in enumerate(spans)
    )
    shards: dict[int, tuple[ray.ObjectRef[object], ray.ObjectRef[object]]] = {}
    statistics: dict[int, ShardStatistics] = {}
    for index, (shard, candidates, one) in pool.run(tasks):
        statistics[index] = one
        if len(one.ids_N):  # a stretch of test labels alone leaves nothing to search
            shards[index] = (shard, shard if config.mining.candidate_fraction == 1.0 else candidates)
    return [shards[index] for index in sorted(shards)], Census.of([statistics[index] for index in sorted(statistics)])


def drop_examples(
    pool: ActorPool, config: RunConfig, loaded: Loaded, census: Census, ids_R: npt.NDArray[np.int64]
) -> Loaded:
    """The same shards without some examples.

    Raises:
        InputError: What is left holds no triplet.
    """
    is_sampled = config.mining.candidate_fraction < 1.0
    tasks = (
        Task(index, "drop_examples", (ids_R, shard, candidates if is_sampled else None), num_kept=2)
        for index, (shard, candidates) in enumerate(zip(loaded.shards, loaded.candidates, strict=True))
    )
    shards: dict[int, tuple[ray.ObjectRef[object], ray.ObjectRef[object]]] = {}
    for index, (shard, candidates, num_left) in pool.run(tasks):
        if num_left:
            shards[index] = (shard, candidates if is_sampled else shard)
    kept_N = ~np.isin(census.ids_N, ids_R)
    left = [shards[index] for index in sorted(shards)]
    try:
        return Loaded.of(left, LabelGroups(census.ids_N[kept_N], census.labels_N[kept_N]))
    except InputError as error:
        raise InputError(
            f"without {len(ids_R):,} suspects of a wrong label, {error}; raise mining.audit.min_label_noise, or set "
            "mining.audit.quarantine report"
        ) from None


def num_shards(config: RunConfig, num_examples: int) -> int:
    """Shards of the corpus: what the config says; else one for each GPU, or enough to keep each small on CPUs."""
    if config.cluster.actor_device == "cuda":
        return config.cluster.num_shards or config.cluster.num_actors
    item = np.dtype(config.embed.dtype).itemsize
    total = num_examples * config.encoder.embedding_dim * item
    return config.cluster.num_shards or max(config.cluster.num_actors, -(-total // _SHARD_BYTES))
