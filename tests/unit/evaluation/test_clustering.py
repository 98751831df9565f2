import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]
from scipy.spatial.distance import pdist  # type: ignore[import-untyped]
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from pipeline.arrays import Int64Array
from pipeline.config import ClusteringConfig
from pipeline.evaluation.clustering.agglomerative import agglomerate
from pipeline.evaluation.clustering.protocol import evaluate_clustering, score_partition
from tests.unit.evaluation.samples import unit_vectors

CONFIG = ClusteringConfig()
METHODS = CONFIG.methods


def groups(codes: npt.NDArray[np.integer]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(codes == code).tolist()) for code in np.unique(codes)}


def bcubed(labels: Int64Array, clusters: Int64Array) -> tuple[float, float]:
    """By definition: over all examples, and all companions of each."""
    precisions, recalls = [], []
    for label, found in zip(labels, clusters, strict=True):
        precisions.append(float((labels[clusters == found] == label).mean()))
        recalls.append(float((clusters[labels == label] == found).mean()))
    return float(np.mean(precisions)), float(np.mean(recalls))


def scipys_tree(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.asarray(linkage(pdist(embeddings.astype(np.float64), "sqeuclidean"), "average"))


@given(st.integers(2, 60), st.integers(1, 6), st.integers(0, 58), st.integers(0, 2**32))
def test_agglomerative_clusters_are_those_of_scipys_average_linkage(n: int, dim: int, cut: int, seed: int) -> None:
    embeddings = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    tree = scipys_tree(embeddings)
    # Between two joins, where rounding decides nothing.
    heights = np.concatenate([[0.0], tree[:, 2], [2 * tree[-1, 2]]])
    threshold = float(heights[cut % n : cut % n + 2].mean())
    assert groups(agglomerate(embeddings, threshold)) == groups(fcluster(tree, threshold, "distance"))


@pytest.mark.parametrize("threshold", [0.3, 0.7, 1.1])
def test_agglomerative_clusters_of_many_tiles_are_scipys_too(threshold: float) -> None:
    embeddings, _ = unit_vectors(1200, 150, noise=0.4, seed=0)
    found = agglomerate(embeddings, threshold)
    assert groups(found) == groups(fcluster(scipys_tree(embeddings), threshold, "distance"))
    assert 1 < len(groups(found)) < 1200


def test_average_linkage_by_hand() -> None:
    # 0 and 1 join at 1. To 3, their mean squared distance is (9 + 4) / 2 = 6.5, though 1 and 3 lie 4 apart.
    line = np.array([[0.0], [1.0], [3.0], [50.0]], dtype=np.float32)
    assert groups(agglomerate(line, 0.99)) == {frozenset({0}), frozenset({1}), frozenset({2}), frozenset({3})}
    assert groups(agglomerate(line, 1.0)) == {frozenset({0, 1}), frozenset({2}), frozenset({3})}
    assert groups(agglomerate(line, 6.49)) == groups(agglomerate(line, 1.0))
    assert groups(agglomerate(line, 6.5)) == {frozenset({0, 1, 2}), frozenset({3})}


def test_an_agglomerative_cluster_bears_the_row_of_a_member() -> None:
    embeddings, _ = unit_vectors(200, 20, noise=0.3, seed=0)
    found = agglomerate(embeddings, 0.5)
    assert (found[found] == found).all()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_equal_vectors_are_joined_at_no_distance(places: list[int]) -> None:
    found = agglomerate(np.eye(4, dtype=np.float32)[places], 0.0)
    assert groups(found) == groups(np.array(places))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=2, max_size=60))
def test_scores_are_those_of_their_definitions(pairs: list[tuple[int, int]]) -> None:
    labels, found = np.array(pairs).T
    alone = np.where(found < 0, 100 + np.arange(len(found)), found)
    partition = score_partition(labels, found)
    precision, recall = bcubed(labels, alone)
    assert partition.bcubed_precision == pytest.approx(precision, abs=1e-12)
    assert partition.bcubed_recall == pytest.approx(recall, abs=1e-12)
    assert partition.bcubed_f == pytest.approx(2 / (1 / precision + 1 / recall), abs=1e-12)
    assert partition.nmi == pytest.approx(normalized_mutual_info_score(labels, alone), abs=1e-12)
    assert partition.ari == pytest.approx(adjusted_rand_score(labels, alone), abs=1e-12)
    assert partition.num_noise == (found < 0).sum()
    assert sorted(partition.sizes.tolist()) == sorted(len(group) for group in groups(alone))


def test_bcubed_by_hand() -> None:
    # Clusters {a, a, b}, {b}, {c}: precision (2/3 + 2/3 + 1/3 + 1 + 1) / 5, recall (1 + 1 + 1/2 + 1/2 + 1) / 5.
    partition = score_partition(np.array([0, 0, 1, 1, 2]), np.array([7, 7, 7, 8, -1]))
    assert partition.bcubed_precision == pytest.approx(11 / 15)
    assert partition.bcubed_recall == pytest.approx(4 / 5)


@pytest.mark.parametrize("method", METHODS)
def test_well_parted_labels_are_found_by_every_method(method: str) -> None:
    # Orthogonal directions; k-means may begin with two examples of one label, so that its clusters are nearly right.
    labels = np.repeat(np.arange(6), 5)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(30, 6))
    embeddings = (np.eye(6)[labels] + noise).astype(np.float32)
    config = ClusteringConfig.model_validate({"methods": (method,)})
    (partition,) = evaluate_clustering(embeddings, labels, config, threshold=0.5, seed=0).partitions.values()
    if method == "k_means":
        assert len(partition.sizes) == 6
        assert partition.bcubed_f > 0.7
    else:
        assert set(partition.metrics().values()) == {1.0}


def test_the_threshold_of_the_config_comes_first() -> None:
    embeddings, labels = unit_vectors(60, 6, noise=0.5, seed=0)
    config = ClusteringConfig(methods=("agglomerative",))
    own = ClusteringConfig(methods=("agglomerative",), distance_threshold=0.2)
    given_ = evaluate_clustering(embeddings, labels, config, 0.2, 0)
    configured = evaluate_clustering(embeddings, labels, own, 1.9, 0)
    assert given_.to_dict() == configured.to_dict()
    assert configured.distance_threshold == 0.2


def test_a_threshold_that_accepts_every_pair_joins_everything() -> None:
    embeddings, labels = unit_vectors(60, 6, noise=0.5, seed=0)
    found = evaluate_clustering(embeddings, labels, ClusteringConfig(methods=("agglomerative",)), float("inf"), 0)
    assert found.partitions["agglomerative"].sizes.tolist() == [60]
    assert found.distance_threshold == 4.0


def test_above_max_examples_whole_labels_are_drawn_by_seed() -> None:
    embeddings, labels = unit_vectors(400, 40, noise=0.3, seed=0)
    config = ClusteringConfig(methods=("agglomerative",), max_examples=100)
    drawn = [evaluate_clustering(embeddings, labels, config, 0.5, seed) for seed in range(5)]
    sizes = np.unique(labels, return_counts=True)[1]
    for found in drawn:
        document = found.to_dict()
        assert (document["num_available"], document["num_labels"]) == (400, len(found.label_sizes))
        assert 100 <= document["num_examples"] < 100 + sizes.max()
        assert not np.setdiff1d(found.label_sizes, sizes).size
    assert drawn[0].to_dict() == evaluate_clustering(embeddings, labels, config, 0.5, seed=0).to_dict()
    assert len({found.partitions["agglomerative"].nmi for found in drawn}) > 1


def test_at_least_two_labels_are_drawn() -> None:
    embeddings, labels = unit_vectors(60, 3, noise=0.3, seed=0)
    config = ClusteringConfig(methods=("agglomerative",), max_examples=2)
    assert len(evaluate_clustering(embeddings, labels, config, 0.5, seed=0).label_sizes) == 2


def test_the_same_seed_gives_the_same_clusters() -> None:
    embeddings, labels = unit_vectors(300, 60, noise=0.8, seed=0)
    documents = [evaluate_clustering(embeddings, labels, CONFIG, 0.5, seed).to_dict() for seed in (0, 0, 1)]
    assert documents[0] == documents[1]
    assert documents[0]["k_means_nmi"] != documents[2]["k_means_nmi"]


def test_the_document_has_stable_names() -> None:
    document = evaluate_clustering(*unit_vectors(80, 20, noise=0.6, seed=0), CONFIG, 0.5, seed=0).to_dict()
    assert set(document["methods"]["hdbscan"]) == {
        "bcubed_f", "bcubed_precision", "bcubed_recall", "nmi", "ari",
        "num_clusters", "num_singletons", "largest_cluster", "num_noise",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # scikit-learn warns that k-means found fewer clusters than labels
@pytest.mark.parametrize(
    ("embeddings", "labels"),
    [
        (np.ones((30, 4), dtype=np.float32) / 2, [0, 1, 2] * 10),
        (np.eye(2, dtype=np.float32), [0, 1]),
        (np.eye(5, dtype=np.float32), [0, 1, 2, 3, 4]),
        (np.eye(5, dtype=np.float32)[[0, 0, 1, 2, 3]], [0, 0, 0, 0, 1]),
    ],
    ids=["collapsed", "two examples", "singletons alone", "one large label"],
)
def test_degenerate_embeddings_have_finite_scores(embeddings: npt.NDArray[np.float32], labels: list[int]) -> None:
    document = evaluate_clustering(embeddings, labels, CONFIG, 0.1, seed=0).to_dict()
    assert json.dumps(document, allow_nan=False)
    for partition in document["methods"].values():
        assert 0 < partition["bcubed_f"] <= 1
