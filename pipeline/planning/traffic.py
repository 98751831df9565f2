"""What travels: to and from the store, and between nodes."""

from dataclasses import dataclass

import numpy as np

from pipeline.config import RunConfig
from pipeline.planning.cluster import PlannedCluster
from pipeline.planning.rates import Rates
from pipeline.planning.workload import Workload

_ANSWER_BYTES = 12  # of a negative: its id and distance
_QUERY_BYTES = 16  # of a pair: its anchor's row and its bounds
_ANCHOR_BYTES = 4  # its label


@dataclass(frozen=True)
class Traffic:
    """Bytes of one refresh.

    Attributes:
        corpus_bytes: Read from the store.
        embedding_bytes: Written to the store, and read again as shards.
        triplet_bytes: Written to the store.
        audit: Between nodes in all, and of that to the driver's node.
        mine: The same.
    """

    corpus_bytes: float
    embedding_bytes: float
    triplet_bytes: float
    audit: tuple[float, float]
    mine: tuple[float, float]

    @property
    def store_bytes(self) -> float:
        """Read and written."""
        return self.corpus_bytes + 2 * self.embedding_bytes + self.triplet_bytes

    @property
    def node_bytes(self) -> float:
        """Between nodes."""
        return self.audit[0] + self.mine[0]


def vector_bytes(config: RunConfig) -> int:
    """Of one stored embedding, without its file's frame."""
    return config.encoder.embedding_dim * np.dtype(config.embed.dtype).itemsize


def traffic_of(
    config: RunConfig, work: Workload, cluster: PlannedCluster, rates: Rates, num_triplets: float
) -> Traffic:
    """Adds up what travels."""
    mining, vector = config.mining, vector_bytes(config)
    others, elsewhere = cluster.num_nodes - 1, 1 - 1 / cluster.num_nodes

    def between(num_anchors: float, num_pairs: float, num_negatives: int) -> tuple[float, float]:
        """Between nodes in a pass of the search, and of that to the driver.

        A block takes the vectors of its anchors and of all that share their labels from wherever they lie; its queries
        go to every node, and the answers to the driver.
        """
        vectors = num_anchors * max(1.0, rates.corpus.mates_per_anchor) * vector * elsewhere
        queries = (num_anchors * (vector + _ANCHOR_BYTES) + num_pairs * _QUERY_BYTES) * others
        answers = work.num_answers * num_pairs * num_negatives * _ANSWER_BYTES * elsewhere
        return vectors + queries + answers, answers

    audit = (0.0, 0.0)
    if mining.audit.num_neighbours:
        audit = between(work.num_mined, work.num_mined, mining.audit.num_neighbours)
    # A negative may be any example: its id takes log2 N bits, which grows with the corpus.
    longer_bits = np.log2(max(work.num_examples, 2)) - np.log2(max(rates.corpus.num_examples, 2))
    return Traffic(
        corpus_bytes=work.stored_bytes,
        embedding_bytes=work.num_examples * rates.embed.stored_bytes_per_example,
        triplet_bytes=num_triplets * max(1.0, rates.bytes_per_triplet + float(longer_bits) / 8),
        audit=audit,
        mine=between(work.num_anchors, work.num_pairs, mining.negatives_per_pair),
    )
