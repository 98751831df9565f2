import numpy as np
import pytest

from pipeline.evaluation.clustering.plot import plot_clustering
from pipeline.evaluation.clustering.protocol import Clustering, Partition, score_partition
from tests.unit.evaluation.plots.pixels import pixels

LABELS = np.repeat(np.arange(40), [1] * 20 + [2] * 10 + [5] * 9 + [30])


def partition(share_moved: float) -> Partition:
    rng = np.random.default_rng(0)
    clusters = np.where(rng.random(len(LABELS)) < share_moved, rng.integers(40, size=len(LABELS)), LABELS)
    return score_partition(LABELS, clusters)


def clustering(*shares_moved: float) -> Clustering:
    label_sizes = np.sort(np.unique(LABELS, return_counts=True)[1])[::-1]
    partitions = zip(("agglomerative", "k_means", "hdbscan"), map(partition, shares_moved), strict=False)
    return Clustering(len(LABELS), label_sizes, 0.7, dict(partitions))


def test_better_clusters_lie_farther_up_and_right() -> None:
    places = []
    for share in (0.8, 0.05):
        picture = pixels(plot_clustering({"one": clustering(share)}))
        half = picture[: picture.shape[0] * 3 // 4, : picture.shape[1] // 2]
        row, column = np.nonzero(np.abs(half - np.array([0x00, 0x72, 0xB2])).max(axis=2) < 12)
        places.append((row.mean(), column.mean()))
    assert places[1][0] < places[0][0] - 50
    assert places[1][1] > places[0][1] + 50


def test_sizes_are_drawn_of_the_last_result_alone() -> None:
    last = clustering(0.1, 0.2, 0.3)
    pictures = [pixels(plot_clustering({"first": first, "last": last})) for first in (last, clustering(0.9, 0.9, 0.9))]
    middle = pictures[0].shape[1] // 2
    assert (pictures[0][:, middle:] == pictures[1][:, middle:]).all()
    assert (pictures[0][:, :middle] != pictures[1][:, :middle]).any()


def test_results_that_cannot_be_drawn_together_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="same methods"):
        plot_clustering({"one": clustering(0.1), "two": clustering(0.1, 0.2)})
