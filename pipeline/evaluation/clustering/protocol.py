"""Clustering: do clusters found without labels match the labels? N: examples, D: dimension.

FaceNet shows agglomerative clustering in a figure only (Schroff et al. 2015, section 5.8); the scores are usual ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from threadpoolctl import threadpool_limits

from pipeline.arrays import Float32Array, Int64Array
from pipeline.config import ClusteringConfig
from pipeline.errors import InputError
from pipeline.evaluation.clustering.agglomerative import agglomerate
from pipeline.evaluation.splits import sample_labels
from pipeline.evaluation.verification.pairs import check_labelled

MAX_SQUARED_DISTANCE = 4.0
"""Of two unit vectors."""


@dataclass(frozen=True, eq=False)
class Partition:
    """The clusters that one method found, compared with the labels.

    Attributes:
        sizes: Examples of each cluster, descending int64; noise counts as clusters of one.
        num_noise: Examples that the method put into no cluster.
        bcubed_precision: Mean over the examples of the share of their cluster that has their label.
        bcubed_recall: Mean over the examples of the share of their label that is in their cluster.
        nmi: Normalised mutual information of clusters and labels (arithmetic mean of the entropies).
        ari: Adjusted Rand index.
    """

    sizes: Int64Array
    num_noise: int
    bcubed_precision: float
    bcubed_recall: float
    nmi: float
    ari: float

    @property
    def bcubed_f(self) -> float:
        """Harmonic mean of BCubed precision and recall."""
        return 2 * self.bcubed_precision * self.bcubed_recall / (self.bcubed_precision + self.bcubed_recall)

    def metrics(self) -> dict[str, float]:
        """The figures of merit."""
        return {
            "bcubed_f": self.bcubed_f,
            "bcubed_precision": self.bcubed_precision,
            "bcubed_recall": self.bcubed_recall,
            "nmi": self.nmi,
            "ari": self.ari,
        }

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics and the counts behind them."""
        counts = {
            "num_clusters": len(self.sizes),
            "num_singletons": int((self.sizes == 1).sum()),
            "largest_cluster": int(self.sizes[0]),
            "num_noise": self.num_noise,
        }
        return self.metrics() | counts


@dataclass(frozen=True, eq=False)
class Clustering:
    """The clusters of each method.

    Attributes:
        num_available: Examples that were given.
        label_sizes: Examples of each label that was clustered, descending int64.
        distance_threshold: Mean squared distance up to which agglomerative clustering joins.
        partitions: By method, in the config's order.
    """

    num_available: int
    label_sizes: Int64Array
    distance_threshold: float
    partitions: Mapping[str, Partition]

    def metrics(self) -> dict[str, float]:
        """``agglomerative_bcubed_f``, ``k_means_nmi`` and so on."""
        return {
            f"{method}_{name}": value
            for method, partition in self.partitions.items()
            for name, value in partition.metrics().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, the threshold, and the counts behind them."""
        return self.metrics() | {
            "num_available": self.num_available,
            "num_examples": int(self.label_sizes.sum()),
            "num_labels": len(self.label_sizes),
            "num_singleton_labels": int((self.label_sizes == 1).sum()),
            "largest_label": int(self.label_sizes[0]),
            "distance_threshold": self.distance_threshold,
            "methods": {method: partition.to_dict() for method, partition in self.partitions.items()},
        }


def evaluate_clustering(
    embeddings_ND: Float32Array, labels_N: npt.ArrayLike, config: ClusteringConfig, threshold: float, seed: int
) -> Clustering:
    """Clusters the embeddings with each method of the config. Memory is flat, O(N·D); time grows with N².

    - ``agglomerative``: average linkage on squared L2 distances, exactly, cut at the threshold.
    - ``k_means``: Lloyd's iterations to convergence from examples drawn by seed; k is the number of labels.
    - ``hdbscan``: scikit-learn's, with clusters of two or more; what it calls noise is clusters of one.

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        config: Methods, and how many examples are clustered.
        threshold: Squared L2 distance up to which clusters are joined, where the config has none.
        seed: Draws the labels where there are more examples than ``config.max_examples``, and where k-means begins.

    Raises:
        InputError: Fewer than two labels, or an embedding is not finite.
        ValueError: Embeddings and labels do not match in number.
    """
    labels = check_labelled(embeddings_ND, labels_N)
    num_available = len(labels)
    distinct, counts = np.unique(labels, return_counts=True)
    if len(distinct) < 2:
        raise InputError(
            f"clustering needs two labels or more, but the {len(labels)} evaluated examples have {len(distinct)}: "
            "raise corpus.test_fraction and prepare the corpus again"
        )
    rows = np.isin(labels, sample_labels(distinct, counts, config.max_examples, np.random.default_rng(seed)))
    embeddings_ND, labels = embeddings_ND[rows], labels[rows]
    label_sizes = _sizes(labels)
    if config.distance_threshold is not None:
        threshold = config.distance_threshold
    threshold = min(threshold, MAX_SQUARED_DISTANCE)  # a verifier that accepts every pair has an infinite one
    methods: dict[str, Callable[[], Int64Array]] = {
        "agglomerative": lambda: agglomerate(embeddings_ND, threshold),
        "k_means": lambda: _k_means(embeddings_ND, len(label_sizes), seed),
        "hdbscan": lambda: _hdbscan(embeddings_ND),
    }
    return Clustering(
        num_available=num_available,
        label_sizes=label_sizes,
        distance_threshold=threshold,
        partitions={method: score_partition(labels, methods[method]()) for method in config.methods},
    )


def score_partition(labels_N: npt.NDArray[Any], clusters_N: Int64Array) -> Partition:
    """Compares clusters with labels.

    BCubed is that of Amigó et al. 2009, "A comparison of extrinsic clustering evaluation metrics based on formal
    constraints": an example counts as its own companion, so that a cluster of one has precision 1, and a label with one
    example recall 1.

    Args:
        labels_N: (N,) label codes.
        clusters_N: (N,) int64, cluster codes; negative: noise, a cluster of one.
    """
    is_noise = clusters_N < 0
    clusters_N = np.where(is_noise, clusters_N.max() + 1 + np.cumsum(is_noise), clusters_N)
    cells = contingency_matrix(labels_N, clusters_N, sparse=True, dtype=np.float64).tocoo()
    num_in_label = np.bincount(cells.row, cells.data)[cells.row]
    num_in_cluster = np.bincount(cells.col, cells.data)[cells.col]
    # Each of the n examples of a cell has n companions of its label in its cluster.
    return Partition(
        sizes=_sizes(clusters_N),
        num_noise=int(is_noise.sum()),
        bcubed_precision=float((cells.data**2 / num_in_cluster).sum() / len(labels_N)),
        bcubed_recall=float((cells.data**2 / num_in_label).sum() / len(labels_N)),
        nmi=float(normalized_mutual_info_score(labels_N, clusters_N)),
        ari=float(adjusted_rand_score(labels_N, clusters_N)),
    )


def _k_means(embeddings_ND: Float32Array, num_clusters: int, seed: int) -> Int64Array:
    # k-means++ takes minutes where clusters are thousands. One thread: several add up their sums in no fixed order.
    k_means = KMeans(num_clusters, init="random", n_init=1, random_state=seed % 2**32)
    with threadpool_limits(1, user_api="openmp"):
        clusters_N: Int64Array = k_means.fit_predict(embeddings_ND).astype(np.int64)
    return clusters_N


def _hdbscan(embeddings_ND: Float32Array) -> Int64Array:
    # A tree of one leaf is a plain search, twice as fast: in so many dimensions, deeper trees rule nothing out.
    search = {"algorithm": "kd_tree", "leaf_size": len(embeddings_ND)}
    clusters_N: Int64Array = HDBSCAN(min_cluster_size=2, copy=True, **search).fit_predict(embeddings_ND)
    return clusters_N


def _sizes(codes_N: npt.NDArray[Any]) -> Int64Array:
    return np.sort(np.unique(codes_N, return_counts=True)[1])[::-1]
