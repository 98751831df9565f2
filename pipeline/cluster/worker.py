"""The actor of a refresh: embeds a part, loads a shard, searches a shard for a block of anchors."""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import threadpoolctl
import torch

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.transform import Transform
from pipeline.embeddings.encode import encode
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import checkpoints, load_encoder
from pipeline.mining.audit import Moments
from pipeline.mining.merge import Nearest
from pipeline.mining.miner import ShardSearch, make_queries, shard_search
from pipeline.mining.positives import Pairs, select_positives
from pipeline.mining.scan import Queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.storage.workspace import Workspace

_BLOCKS_KEPT = 4  # an actor often searches several shards for one block


@dataclass(frozen=True)
class ShardStatistics:
    """What the driver needs to know of a shard without holding it.

    Attributes:
        ids_N: Eligible example ids, int64.
        labels_N: Their label codes, int32.
        non_finite: Ids left out because their embedding is not finite, int64.
        moments: For the audit.
    """

    ids_N: npt.NDArray[np.int64]
    labels_N: npt.NDArray[np.int32]
    non_finite: npt.NDArray[np.int64]
    moments: Moments


class RefreshWorker:
    """Holds what is worth keeping between calls: the corpus's labels, one encoder, one refresh's searches."""

    def __init__(self, config: RunConfig, corpus_number: int) -> None:
        """Sets the number of threads before any is started.

        Nothing is opened here: an error in an actor's constructor would reach the driver as a dead actor.

        Args:
            config: The run.
            corpus_number: The corpus that the job has pinned.
        """
        torch.set_num_threads(config.cluster.threads_per_actor)
        self._limits = threadpoolctl.threadpool_limits(config.cluster.threads_per_actor)
        self._config, self._corpus_number = config, corpus_number
        self._device = config.cluster.actor_device
        self._encoder: tuple[tuple[str, int], torch.nn.Module] | None = None
        self._searches: tuple[str, dict[int, ShardSearch]] = ("", {})
        self._blocks: dict[tuple[str, int], tuple[Pairs, Queries]] = {}

    @functools.cached_property
    def _workspace(self) -> Workspace:
        return Workspace.open(self._config.workspace, self._config.run)

    @functools.cached_property
    def _corpus(self) -> Corpus:
        return Corpus.open(self._workspace, self._corpus_number)

    def embed_part(self, run: str, step: int, key: str, part: int) -> int:
        """Encodes one part of the corpus with a checkpoint and stores it; returns its number of examples."""
        table = self._corpus.read_part(part)
        column = table["image" if self._corpus.manifest.payload == "image" else "vector"]
        if self._corpus.manifest.payload == "image":
            transform = Transform(self._config.transform)
            payloads = [value["bytes"].as_py() for chunk in column.chunks for value in chunk]
            vectors = encode(self._load(run, step), payloads, transform, self._config.embed.batch_size, self._device)
        else:
            payloads = list(np.stack([value.values.to_numpy() for value in column.combine_chunks()]))
            vectors = encode(self._load(run, step), payloads, np.asarray, self._config.embed.batch_size, self._device)
        parts = EmbeddingParts(self._workspace, key)
        parts.write(part, self._corpus.part_ids(part).start, vectors, self._config.embed.dtype)
        return len(vectors)

    def _load(self, run: str, step: int) -> torch.nn.Module:
        if self._encoder is None or self._encoder[0] != (run, step):
            publication = checkpoints(Workspace(self._workspace.store, run))
            manifest = publication.read(step)
            encoder = load_encoder(publication, manifest, self._config.encoder, self._config.transform, self._device)
            self._encoder = ((run, step), encoder)
        return self._encoder[1]

    def load_shard(self, key: str, first_id: int, last_id: int) -> tuple[Shard, ShardStatistics]:
        """Loads the training examples in [first_id, last_id) whose embeddings are finite."""
        self._forget("")  # the searches of the refresh before hold its shards in shared memory
        parts = EmbeddingParts(self._workspace, key)
        vectors, ids = [], []
        for part in range(self._corpus.num_parts):
            span = self._corpus.part_ids(part)
            start, end = max(span.start, first_id), min(span.stop, last_id)
            if start < end:
                stored = parts.read(part, span.start, len(span))
                vectors.append(stored[start - span.start : end - span.start])
                ids.append(np.arange(start, end, dtype=np.int64))
        ids_N, vectors_ND = np.concatenate(ids), np.concatenate(vectors)
        train_N = ~self._corpus.is_test[ids_N]
        finite_N = np.isfinite(vectors_ND).all(axis=1)
        kept = train_N & finite_N
        shard = Shard(ids_N[kept], self._corpus.labels[ids_N[kept]], np.ascontiguousarray(vectors_ND[kept]))
        statistics = ShardStatistics(
            shard.ids_N, shard.labels_N, ids_N[train_N & ~finite_N], Moments.of(shard.vectors_ND)
        )
        return shard, statistics

    def search_block(
        self,
        refresh: str,
        block: int,
        anchors_A: npt.NDArray[np.int64],
        groups: LabelGroups,
        index: int,
        backend: str,
        *shards: Shard,
    ) -> tuple[Pairs | None, Nearest, int]:
        """Searches one shard for the negatives of a block of anchors.

        Args:
            refresh: Key of the refresh: what is kept belongs to one only.
            block: Number of the block.
            anchors_A: Its anchors.
            groups: Who shares a label.
            index: Which shard to search.
            backend: "reference" or "faiss".
            *shards: All shards: positives may lie in any. Read-only views of Ray's shared memory.

        Returns:
            The block's pairs (with shard 0 only: they are the same for all), the nearest negatives found in the
            shard, and how many anchors a FAISS index handed to the scan.
        """
        if self._searches[0] != refresh:
            self._forget(refresh)
        if (refresh, block) not in self._blocks:
            while len(self._blocks) >= _BLOCKS_KEPT:
                self._blocks.pop(next(iter(self._blocks)))
            vectors, mining = ShardedVectors(shards), self._config.mining
            pairs = select_positives(mining.positives, vectors, groups, anchors_A, self._config.seed)
            self._blocks[refresh, block] = (pairs, make_queries(pairs, vectors, groups, mining.band))
        pairs, queries = self._blocks[refresh, block]
        if index not in self._searches[1]:
            self._searches[1][index] = shard_search(backend, shards[index])
        found, unresolved = self._searches[1][index](queries, self._config.mining.negatives_per_pair)
        return (pairs if index == 0 else None), found, unresolved

    def _forget(self, refresh: str) -> None:
        """Drops what belongs to another refresh than this one."""
        self._searches = (refresh, {})
        self._blocks.clear()
