"""One block of anchors, from positives to triplets: the steps that the mine stage spreads over actors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.config import BandConfig, MiningConfig
from pipeline.mining.band import band_bounds
from pipeline.mining.distance import Float32Array, Int64Array
from pipeline.mining.index import FlatIndex, import_faiss
from pipeline.mining.merge import Nearest
from pipeline.mining.positives import Pairs
from pipeline.mining.scan import Queries, scan
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors

ShardSearch = Callable[[Queries, int], tuple[Nearest, int]]


@dataclass(frozen=True)
class Triplets:
    """Mined triplets, sorted by anchor, positive, rank of the negative. T rows.

    Attributes:
        anchor_T: example_id, int64.
        positive_T: example_id, int64.
        negative_T: example_id, int64.
        d_ap_T: Squared L2 distance anchor to positive, float32.
        d_an_T: Squared L2 distance anchor to negative, float32.
    """

    anchor_T: Int64Array
    positive_T: Int64Array
    negative_T: Int64Array
    d_ap_T: Float32Array
    d_an_T: Float32Array

    def __len__(self) -> int:
        return len(self.anchor_T)


def resolve_backend(config: MiningConfig) -> str:
    """The backend that ``auto`` means here, or the one asked for.

    Raises:
        InputError: What was asked for cannot be had.
    """
    if config.backend == "faiss":
        import_faiss()
        return "faiss"
    return "reference"


def shard_search(backend: str, shard: Shard) -> ShardSearch:
    """A search of one shard: (queries, M) to (nearest, number of anchors handed from the index to the scan)."""
    if backend == "faiss":
        return FlatIndex(shard).scan
    return lambda queries, num_negatives: (scan(queries, shard, num_negatives), 0)


def make_queries(pairs: Pairs, vectors: ShardedVectors, groups: LabelGroups, band: BandConfig) -> Queries:
    """What to ask of every shard about the pairs of a block."""
    anchors_A, row_P = np.unique(pairs.anchor_P, return_inverse=True)
    lower_P, upper_P = band_bounds(band, pairs.d_ap_P)
    return Queries(groups.labels_of(anchors_A), vectors.take(anchors_A), row_P.astype(np.int64), lower_P, upper_P)


def to_triplets(pairs: Pairs, nearest: Nearest) -> tuple[Triplets, int]:
    """The triplets of a block, and how many of its pairs have no negative in their band."""
    pair_T, place_T = np.nonzero(nearest.found_PM)
    triplets = Triplets(
        pairs.anchor_P[pair_T],
        pairs.positive_P[pair_T],
        nearest.id_PM[pair_T, place_T],
        pairs.d_ap_P[pair_T].astype(np.float32),
        nearest.d_an_PM[pair_T, place_T],
    )
    return triplets, int(np.count_nonzero(~nearest.found_PM[:, 0]))
