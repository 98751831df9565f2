"""Retrieval: are the nearest other examples of the same label?

N: examples, D: dimension, Q: queries of a tile, K: nearest examples of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from pipeline.config import RetrievalConfig
from pipeline.errors import InputError
from pipeline.evaluation.neighbours import QUERIES_PER_TILE, nearest_others
from pipeline.evaluation.verification.pairs import check_finite, check_labelled

# Labels with very many examples need long lists of neighbours: then a tile holds fewer queries.
MAX_LISTED = 2_000_000


@dataclass(frozen=True)
class Recall:
    """Recall@1.

    Attributes:
        num_queries: Examples whose label has at least one more example.
        recall_at_1: Share of the queries whose nearest other example has their label.
    """

    num_queries: int
    recall_at_1: float


@dataclass(frozen=True)
class Retrieval:
    """How well the examples of a label find one another; all figures are means over the queries.

    Attributes:
        num_examples: All that are searched.
        num_eligible: Examples whose label has at least one more example.
        num_queries: So many of those were sampled; all, unless there are more than ``max_queries``.
        recalls: Recall@K by K: share of the queries with an example of their label among the K nearest others (Oh Song
            et al. 2016, "Deep Metric Learning via Lifted Structured Feature Embedding").
        r_precision: Share of the query's label among its R nearest others, R being the number of the label's other
            examples (Musgrave et al. 2020, "A Metric Learning Reality Check", section 3.2).
        map_at_r: Mean average precision at R, which also minds their order (the same section).
    """

    num_examples: int
    num_eligible: int
    num_queries: int
    recalls: Mapping[int, float]
    r_precision: float
    map_at_r: float

    def metrics(self) -> dict[str, float]:
        """``recall_at_1`` and so on, ``r_precision``, ``map_at_r``."""
        recalls = {f"recall_at_{k}": recall for k, recall in self.recalls.items()}
        return recalls | {"r_precision": self.r_precision, "map_at_r": self.map_at_r}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics and the counts behind them."""
        counts = {"num_examples": self.num_examples, "num_eligible": self.num_eligible, "num_queries": self.num_queries}
        return self.metrics() | counts


def evaluate_retrieval(
    embeddings_ND: Float32Array,
    labels_N: npt.ArrayLike,
    config: RetrievalConfig,
    seed: int,
    others_ND: Float32Array | None = None,
) -> Retrieval:
    """Looks up each query's nearest other examples among all examples, singletons included.

    Distances are squared L2, computed in float64; of equally near examples the first counts. An example is never its
    own answer. Labels with one example have no query. Memory is flat: a tile of queries against a tile of examples.

    Args:
        embeddings_ND: (N, D) float32, unit vectors; the queries' vectors.
        labels_N: (N,) integer label codes.
        config: Which recalls, and how many queries.
        seed: Draws the queries where there are more than ``config.max_queries``.
        others_ND: (N, D) float32, the same examples as another network embeds them: then these are searched, as old
            embeddings by new ones.

    Raises:
        InputError: No label has two examples, or an embedding is not finite.
        ValueError: Embeddings and labels do not match in number or dimension.
    """
    labels = check_labelled(embeddings_ND, labels_N)
    gallery_ND = embeddings_ND if others_ND is None else others_ND
    if gallery_ND.shape != embeddings_ND.shape:
        raise ValueError(f"embeddings {embeddings_ND.shape} and others {gallery_ND.shape} are not (N, D) and (N, D)")
    check_finite(gallery_ND)
    eligible, num_relevant = _eligible(labels)
    sampled = np.arange(len(eligible))
    if len(sampled) > config.max_queries:
        sampled = np.random.default_rng(seed).choice(len(eligible), config.max_queries, replace=False)
    # Queries with equally many relevant examples side by side need lists of one length.
    sampled = sampled[np.argsort(-num_relevant[sampled], kind="stable")]
    queries, num_relevant = eligible[sampled], num_relevant[sampled]
    first_rank, r_precision, average_precision = np.empty((3, len(queries)))
    start = 0
    while start < len(queries):
        depth = min(max(*config.ks, int(num_relevant[start])), len(labels) - 1)
        tile = slice(start, start + min(QUERIES_PER_TILE, max(1, MAX_LISTED // depth)))
        rows_QK = nearest_others(embeddings_ND[queries[tile]], gallery_ND, queries[tile], depth)
        is_same_QK = labels[rows_QK] == labels[queries[tile], None]
        first_rank[tile] = np.where(is_same_QK.any(axis=1), is_same_QK.argmax(axis=1) + 1, np.inf)
        r_precision[tile], average_precision[tile] = _precisions_at_r(is_same_QK, num_relevant[tile])
        start = tile.stop
    return Retrieval(
        num_examples=len(labels),
        num_eligible=len(eligible),
        num_queries=len(queries),
        recalls={k: float((first_rank <= k).mean()) for k in config.ks},
        r_precision=float(r_precision.mean()),
        map_at_r=float(average_precision.mean()),
    )


def recall_at_1(embeddings_ND: Float32Array, labels_N: npt.ArrayLike) -> Recall:
    """Recall@1 of all queries, as ``evaluate_retrieval`` defines it, and nothing that takes longer.

    Args:
        embeddings_ND: (N, D) float32, unit vectors, finite.
        labels_N: (N,) integer label codes.

    Raises:
        InputError: No label has two examples.
    """
    labels = np.asarray(labels_N)
    queries, _ = _eligible(labels)
    num_hits = 0
    for start in range(0, len(queries), QUERIES_PER_TILE):
        tile = queries[start : start + QUERIES_PER_TILE]
        nearest_Q = nearest_others(embeddings_ND[tile], embeddings_ND, tile, 1)[:, 0]
        num_hits += int((labels[nearest_Q] == labels[tile]).sum())
    return Recall(num_queries=len(queries), recall_at_1=num_hits / len(queries))


def _eligible(labels: npt.NDArray[Any]) -> tuple[Int64Array, Int64Array]:
    """The examples whose label has more examples, and how many more."""
    _, label_index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    num_relevant_N = counts[label_index] - 1
    eligible = np.flatnonzero(num_relevant_N)
    if not len(eligible):
        raise InputError(
            f"retrieval needs two examples of one label, but each of the {len(labels)} evaluated examples has a "
            "label of its own: raise corpus.test_fraction and prepare the corpus again"
        )
    return eligible, num_relevant_N[eligible]


def _precisions_at_r(is_same_QK: BoolArray, num_relevant_Q: Int64Array) -> tuple[Float64Array, Float64Array]:
    """R-precision and average precision at R of each query, (Q,) float64, from its list's first K >= R places."""
    rank_K = np.arange(1, is_same_QK.shape[1] + 1)
    is_hit_QK = is_same_QK & (rank_K <= num_relevant_Q[:, None])
    precision_QK = is_hit_QK.cumsum(axis=1) / rank_K
    return is_hit_QK.sum(axis=1) / num_relevant_Q, (precision_QK * is_hit_QK).sum(axis=1) / num_relevant_Q
