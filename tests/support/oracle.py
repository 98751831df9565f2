"""Brute force in float64, written from the definitions alone: what every backend is held to."""

import numpy as np
import numpy.typing as npt

from pipeline.config import BandConfig, MiningConfig
from pipeline.mining.backends.registry import open_search
from pipeline.mining.positives import select_positives
from pipeline.mining.queries import build_queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.triplets import Triplets, to_triplets


def unit_vectors(
    rng: np.random.Generator, labels_N: npt.NDArray[np.int32], dim: int, noise: float
) -> npt.NDArray[np.float32]:
    """Clustered unit vectors: a centre a label, and noise."""
    centres = rng.normal(size=(int(labels_N.max()) + 1, dim))
    vectors = centres[labels_N] + noise * rng.normal(size=(len(labels_N), dim))
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def listed(
    anchor_T: npt.NDArray[np.int64], positive_T: npt.NDArray[np.int64], negative_T: npt.NDArray[np.int64]
) -> Triplets:
    """Triplets of which only the ids matter."""
    nowhere = np.full(len(anchor_T), np.nan, dtype=np.float32)
    return Triplets(anchor_T, positive_T, negative_T, nowhere, nowhere)


def all_distances(vectors_ND: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """All squared distances, float64, by differences."""
    x = vectors_ND.astype(np.float64)
    return np.stack([((x - row) ** 2).sum(axis=1) for row in x])


def in_band(band: BandConfig, d_ap: float, d_an: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """The band's predicate as FaceNet and its relatives state it."""
    match band.mode:
        case "hard":
            return np.ones_like(d_an, dtype=bool)
        case "semi_hard":
            return (d_ap < d_an) & (d_an < d_ap + band.margin)
        case "positive_aware":
            return d_an > band.ratio * d_ap + band.offset
    return (band.low < d_an) & (d_an < band.high)


def mine(
    config: MiningConfig,
    vectors_ND: npt.NDArray[np.floating],
    labels_N: npt.NDArray[np.int32],
    num_shards: int = 1,
    anchors_per_block: int = 64,
    seed: int = 0,
    ids_N: npt.NDArray[np.int64] | None = None,
) -> Triplets:
    """All of mining in this process: blocks of anchors, shards of candidates, one merge."""
    ids = np.arange(len(labels_N), dtype=np.int64) if ids_N is None else ids_N
    shards = [
        Shard(ids[rows], labels_N[rows], vectors_ND[rows]) for rows in np.array_split(np.arange(len(ids)), num_shards)
    ]
    vectors, groups = ShardedVectors(shards), LabelGroups(ids, labels_N)
    searches = [open_search(config, config.backend, shard) for shard in shards if len(shard)]
    parts = []
    for start in range(0, len(groups.anchors_A), anchors_per_block):
        anchors = groups.anchors_A[start : start + anchors_per_block]
        pairs = select_positives(config.positives, vectors, groups, anchors, seed)
        queries = build_queries(pairs, vectors, groups, config.band)
        found = Nearest.empty(len(pairs), config.negatives_per_pair)
        for search in searches:
            found.merge(search(queries, config.negatives_per_pair)[0])
        parts.append(to_triplets(pairs, found)[0])
    return Triplets.concat(parts)
