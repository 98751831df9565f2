"""Shards as they are made, cut and looked up: plain functions, which any node can run; see ``on_nodes``."""

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from pipeline.arrays import Int64Array
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.errors import CorruptDataError
from pipeline.failpoints import Failpoint, reach
from pipeline.mining.audit.moments import Moments
from pipeline.mining.sampling import sample_candidates
from pipeline.mining.shards import Shard
from pipeline.stages.embed.mixture import Mixture, check_usable, is_old
from pipeline.storage.workspace import Workspace

_SHORTEST = 0.5  # encoders give unit vectors; what is far shorter was zero before it was normalised


@dataclass(frozen=True)
class ShardStatistics:
    """What the driver needs to know of a shard, or of all of them, without holding it.

    Attributes:
        ids_N: Eligible example ids, int64.
        labels_N: Their label codes, int32.
        non_finite: Ids left out because their embedding is not finite, int64.
        zero: Ids left out because their embedding is zero, int64.
        moments: For the audit: of the run's own vectors, also where others stand in for some of them.
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
    def concat(cls, statistics: Sequence["ShardStatistics"]) -> "ShardStatistics":
        """Those of several shards, in order of ids."""
        return cls(
            np.concatenate([shard.ids_N for shard in statistics]),
            np.concatenate([shard.labels_N for shard in statistics]),
            np.concatenate([shard.non_finite for shard in statistics]),
            np.concatenate([shard.zero for shard in statistics]),
            functools.reduce(operator.add, (shard.moments for shard in statistics)),
        )


@dataclass(frozen=True)
class Span:
    """What becomes one shard.

    Attributes:
        key: Of the embeddings.
        first_id: The first example.
        last_id: The one after the last.
        sample_seed: Seeds the samples of this pass.
        mixture: A share of the examples stands with vectors of an older encoder.
    """

    key: str
    first_id: int
    last_id: int
    sample_seed: int
    mixture: Mixture | None


def load_shard(config: RunConfig, corpus_number: int, span: Span) -> tuple[Shard, Shard | None, ShardStatistics]:
    """Loads the training examples of a span whose embeddings can be mined.

    Returns:
        The shard; the sample of it that is searched for negatives, or None where all of it is; and what the driver
        needs to know.
    """
    workspace, corpus = _open(config.workspace, config.run, corpus_number)
    num_dims = config.encoder.embedding_dim
    vectors = np.empty((span.last_id - span.first_id, num_dims), dtype=config.embed.dtype)
    stored = _stored(workspace, corpus, span.key, span.first_id, span.last_id, num_dims)
    shard, statistics = collect_shard(corpus, stored, vectors)
    if span.mixture is not None and span.mixture.share > 0.0 and len(shard):
        _mix(workspace, corpus, shard, span.mixture, span.sample_seed)
    reach(Failpoint.SHARD_LOADED)
    fraction = config.mining.candidate_fraction
    return shard, None if fraction == 1.0 else sample_candidates(shard, fraction, span.sample_seed), statistics


def collect_shard(
    corpus: Corpus,
    stored: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]],
    vectors_ND: npt.NDArray[np.floating],
) -> tuple[Shard, ShardStatistics]:
    """Collects the training examples whose embeddings can be mined: those that are finite, and not zero.

    Args:
        corpus: Says what is a training example, and its label.
        stored: Ids and stored vectors, part by part, ascending.
        vectors_ND: Takes the vectors; has room for all, shape (N, D).
    """
    ids, non_finite, zero, filled = [], [], [], 0
    for part_ids, part_vectors in stored:
        train, finite = ~corpus.is_test[part_ids], np.isfinite(part_vectors).all(axis=1)
        long = np.einsum("nd,nd->n", part_vectors, part_vectors, dtype=np.float32) > _SHORTEST**2
        kept = train & finite & long
        ids.append(part_ids[kept])
        non_finite.append(part_ids[train & ~finite])
        zero.append(part_ids[train & finite & ~long])
        vectors_ND[filled : filled + len(ids[-1])] = part_vectors[kept]
        filled += len(ids[-1])
    ids_N = np.concatenate(ids)
    shard = Shard(ids_N, corpus.labels[ids_N], vectors_ND[:filled])
    moments = Moments.of(shard.vectors_ND)
    return shard, ShardStatistics(ids_N, shard.labels_N, np.concatenate(non_finite), np.concatenate(zero), moments)


def drop_examples(ids_R: Int64Array, shard: Shard, candidates: Shard | None) -> tuple[Shard, Shard | None, int]:
    """A shard and its candidates without some examples, and how many are left of it."""
    left = shard.without(ids_R)
    return left, None if candidates is None else candidates.without(ids_R), len(left)


def located(function: Callable[..., tuple[Any, Any, Any]], *args: object) -> tuple[Any, Any, tuple[Any, str]]:
    """What a function of three values returns, the last with the id of the node that ran it."""
    first, second, last = function(*args)
    return first, second, (last, ray.get_runtime_context().get_node_id())


def take_rows(ids_P: Int64Array, shard: Shard) -> Shard:
    """A few examples of a shard, ascending."""
    return shard.take(np.searchsorted(shard.ids_N, ids_P))


@functools.lru_cache(maxsize=1)
def _open(uri: str, run: str, corpus_number: int) -> tuple[Workspace, Corpus]:
    """Kept between the tasks that a process runs."""
    workspace = Workspace.open(uri, run)
    return workspace, Corpus.open(workspace, corpus_number)


def _stored(
    workspace: Workspace, corpus: Corpus, key: str, first_id: int, last_id: int, num_dims: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]]:
    """The stored vectors of the examples in [first_id, last_id), part by part, with their ids."""
    parts = EmbeddingParts(workspace, key)
    for part in range(corpus.num_parts):
        span = corpus.part_ids(part)
        start, end = max(span.start, first_id), min(span.stop, last_id)
        if start >= end:
            continue
        stored = parts.read(part, span.start, len(span))[start - span.start : end - span.start]
        if stored.shape[1] != num_dims:
            raise CorruptDataError(
                f"embedding part {part} of key {key} has {stored.shape[1]} dimensions, not {num_dims} as "
                "encoder.embedding_dim says: delete the parts of this key and mine again"
            )
        yield np.arange(start, end, dtype=np.int64), stored


def _mix(workspace: Workspace, corpus: Corpus, shard: Shard, mixture: Mixture, sample_seed: int) -> None:
    """Puts the old vectors of a share of a shard's examples in the place of the new ones."""
    old = is_old(shard.ids_N, mixture.share, sample_seed)
    first_id, last_id = int(shard.ids_N[0]), int(shard.ids_N[-1]) + 1
    for part_ids, stored in _stored(workspace, corpus, mixture.key, first_id, last_id, shard.vectors_ND.shape[1]):
        rows = np.flatnonzero(old & (shard.ids_N >= part_ids[0]) & (shard.ids_N <= part_ids[-1]))
        found = stored[shard.ids_N[rows] - part_ids[0]]
        check_usable(shard.ids_N[rows], found)
        shard.vectors_ND[rows] = found
