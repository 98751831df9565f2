"""One block of anchors, from positives to triplets: the steps that the mine stage spreads over actors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.config import BandConfig, MiningConfig
from pipeline.mining.audit.suspects import Floors
from pipeline.mining.backends.faiss import FaissIndex, import_faiss
from pipeline.mining.backends.native import NativeScan, import_native, why_missing
from pipeline.mining.backends.reference import Queries, scan
from pipeline.mining.band import band_bounds
from pipeline.mining.distance import Float32Array, Int64Array
from pipeline.mining.positives import Pairs
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import Nearest

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


def resolve_backend(config: MiningConfig, device: str = "cpu") -> str:
    """The backend that ``auto`` means on a device, or the one asked for.

    Raises:
        InputError: What was asked for cannot be had.
    """
    if config.backend == "auto":
        if device == "cuda":
            return "triton"
        return "reference" if why_missing() else "native"
    if config.backend == "native":
        import_native()
    if config.backend == "faiss":
        import_faiss()
    return config.backend


def shard_search(config: MiningConfig, backend: str, shard: Shard, device: str = "cpu") -> ShardSearch:
    """A search of one shard.

    Args:
        config: For the index of the backend `faiss`.
        backend: As ``resolve_backend`` gave it.
        shard: Candidates.
        device: "cpu" or "cuda"; what `triton` and `faiss` run on.

    Returns:
        (queries, M) to (nearest negatives, number of pairs that an index handed to the scan).

    Raises:
        InputError: The backend, or what it needs, cannot be had here.
    """
    match backend:
        case "triton":
            from pipeline.mining.backends.triton import TritonScan  # noqa: PLC0415 — brings torch, which others do without

            return TritonScan(shard, device=device)
        case "native":
            return NativeScan(shard)
        case "faiss":
            exact = resolve_backend(config.model_copy(update={"backend": "auto"}), device)
            return FaissIndex(shard, config.index, shard_search(config, exact, shard, device), device)
    return lambda queries, num_negatives: (scan(queries, shard, num_negatives), 0)


def make_queries(
    pairs: Pairs, vectors: ShardedVectors, groups: LabelGroups, band: BandConfig, floors: Floors | None = None
) -> Queries:
    """What to ask of every shard about the pairs of a block; above their anchors' floors, where they have some."""
    anchors_A, row_P = np.unique(pairs.anchor_P, return_inverse=True)
    lower_P, upper_P = band_bounds(band, pairs.d_ap_P)
    if floors is not None:
        lower_P = np.maximum(lower_P, floors.of(pairs.anchor_P))
    return Queries(groups.labels_of(anchors_A), vectors.take(anchors_A), row_P.astype(np.int64), lower_P, upper_P)


def neighbour_queries(anchors_A: Int64Array, vectors: ShardedVectors, groups: LabelGroups) -> Queries:
    """Asks for the nearest examples of other labels around each anchor: a pair an anchor, in no band."""
    num_anchors = len(anchors_A)
    unbounded_A = np.full(num_anchors, np.inf, dtype=np.float32)
    return Queries(
        groups.labels_of(anchors_A), vectors.take(anchors_A), np.arange(num_anchors), -unbounded_A, unbounded_A
    )


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
