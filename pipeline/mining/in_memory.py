"""A whole mining pass in one call, for vectors that lie in the memory of one process."""

import numpy as np

from pipeline.config import MiningConfig
from pipeline.mining.distance import FloatArray, Int32Array, Int64Array
from pipeline.mining.miner import Triplets, make_queries, resolve_backend, shard_search, to_triplets
from pipeline.mining.positives import select_positives
from pipeline.mining.sampling import sample_candidates
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors

_ANCHORS_PER_BLOCK = 4096


def mine_whole(
    ids_N: Int64Array,
    labels_N: Int32Array,
    vectors_ND: FloatArray,
    config: MiningConfig,
    seed: int,
    sample_seed: int,
    device: str = "cpu",
) -> Triplets:
    """Mines triplets over N examples: what the actors of a refresh do, block by block.

    Args:
        ids_N: example_id, int64, ascending, shape (N,).
        labels_N: Label codes, int32, shape (N,).
        vectors_ND: Embeddings, finite, shape (N, D).
        config: What to mine. A warm start and the verified sample belong to a refresh and are left out here.
        seed: Seeds the draw of positives.
        sample_seed: Seeds the sample of candidates.
        device: "cpu" or "cuda".

    Raises:
        InputError: The backend cannot be had.
    """
    shard = Shard(ids_N, labels_N, vectors_ND)
    vectors, groups = ShardedVectors([shard]), LabelGroups(ids_N, labels_N)
    sampled = config.candidate_fraction < 1.0
    candidates = sample_candidates(shard, config.candidate_fraction, sample_seed) if sampled else shard
    search = shard_search(config, resolve_backend(config, device), candidates, device)
    blocks = []
    for start in range(0, max(len(groups.anchors_A), 1), _ANCHORS_PER_BLOCK):
        anchors = groups.anchors_A[start : start + _ANCHORS_PER_BLOCK]
        pairs = select_positives(config.positives, vectors, groups, anchors, seed)
        nearest, _ = search(make_queries(pairs, vectors, groups, config.band), config.negatives_per_pair)
        blocks.append(to_triplets(pairs, nearest)[0])
    columns = zip(*(vars(block).values() for block in blocks), strict=True)
    return Triplets(*(np.concatenate(column) for column in columns))
