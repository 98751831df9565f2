"""A whole mining pass in one call, for vectors that lie in the memory of one process."""

from pipeline.config import MiningConfig
from pipeline.mining.backends.registry import open_search, resolve_backend
from pipeline.mining.positives import select_positives
from pipeline.mining.queries import build_queries
from pipeline.mining.sampling import sample_candidates
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.triplets import Triplets, to_triplets

__all__ = ["Shard", "mine_whole"]

_ANCHORS_PER_BLOCK = 4096


def mine_whole(
    examples: Shard, config: MiningConfig, seed: int = 0, sample_seed: int = 0, device: str = "cpu"
) -> Triplets:
    """Mines triplets over N examples: what the actors of a refresh do, block by block.

    Args:
        examples: Ids, labels and embeddings.
        config: What to mine. A warm start and the verified sample belong to a refresh and are left out here.
        seed: Seeds the draw of positives.
        sample_seed: Seeds the sample of candidates.
        device: "cpu" or "cuda".

    Raises:
        InputError: The backend cannot be had.
    """
    vectors, groups = ShardedVectors([examples]), LabelGroups(examples.ids_N, examples.labels_N)
    candidates = sample_candidates(examples, config.candidate_fraction, sample_seed)
    search = open_search(config, resolve_backend(config, device), candidates, device)
    blocks = []
    for start in range(0, max(len(groups.anchors_A), 1), _ANCHORS_PER_BLOCK):
        anchors = groups.anchors_A[start : start + _ANCHORS_PER_BLOCK]
        pairs = select_positives(config.positives, vectors, groups, anchors, seed)
        nearest, _ = search(build_queries(pairs, vectors, groups, config.band), config.negatives_per_pair)
        blocks.append(to_triplets(pairs, nearest)[0])
    return Triplets.concat(blocks)
