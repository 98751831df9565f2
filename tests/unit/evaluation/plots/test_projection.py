import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.evaluation.plots.projection import Method, plot_projection, project, sample_points
from pipeline.plotting import GRID, PALETTE
from tests.unit.evaluation.plots.pixels import amount, ink_at_the_edge, palette_colors, pixels
from tests.unit.evaluation.samples import unit_vectors


def umap_or_skip() -> None:
    pytest.importorskip("umap", reason="umap-learn is not installed")


def distances(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2))


def test_pca_gives_the_plane_of_a_singular_value_decomposition() -> None:
    vectors, _ = unit_vectors(80, 5, noise=0.5, seed=0)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(distances(project(vectors, "pca", 0)), distances(u[:, :2] * s[:2]), atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (2, 4), (5, 1), (5, 2)])
def test_pca_takes_any_number_of_examples_and_dimensions(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    points = project(vectors, "pca", 0)
    assert points.shape == (shape[0], 2)
    assert points.dtype == np.float32
    if shape[1] <= 2 or shape[0] <= 2:
        np.testing.assert_allclose(distances(points), distances(vectors), atol=1e-5)


@pytest.mark.parametrize("method", ["t_sne", "umap"])
def test_neighbours_stay_neighbours(method: Method) -> None:
    if method == "umap":
        umap_or_skip()
    vectors, labels = unit_vectors(120, 4, noise=0.05, seed=0)
    points = project(vectors, method, 0)
    apart = distances(points)
    np.fill_diagonal(apart, np.inf)
    assert points.shape == (120, 2)
    assert (labels[apart.argmin(axis=1)] == labels).all()
    np.testing.assert_array_equal(points, project(vectors, method, 0))


@pytest.mark.parametrize("method", ["t_sne", "umap"])
def test_too_few_examples_are_refused(method: Method) -> None:
    with pytest.raises(InputError, match=f"'{method}' needs 8 examples, but there are 7: choose 'pca'"):
        project(np.eye(7, dtype=np.float32), method, 0)


def test_eight_examples_are_enough_for_t_sne() -> None:
    assert np.isfinite(project(np.eye(8, dtype=np.float32), "t_sne", 0)).all()


def test_without_umap_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match="pip install umap-learn, or choose 'pca' or 't_sne'"):
        project(np.eye(9, dtype=np.float32), "umap", 0)


@given(st.lists(st.integers(0, 6), max_size=80), st.integers(1, 5), st.integers(1, 60), st.integers(0, 3))
def test_chosen_points_are_as_many_as_allowed_and_favour_the_coloured(
    codes: list[int], num_labels: int, num_points: int, seed: int
) -> None:
    labels = np.array(codes, dtype=np.int64)
    rows = sample_points(labels, seed, num_labels, num_points)
    assert len(rows) == min(len(labels), num_points)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, sample_points(labels, seed, num_labels, num_points))
    # Of equally frequent labels the lower code: the oracle is a plain sort.
    frequent = sorted(set(codes), key=lambda code: (-codes.count(code), code))[:num_labels]
    num_coloured = int(np.isin(labels[rows], frequent).sum())
    assert num_coloured >= min(int(np.isin(labels, frequent).sum()), len(rows) // 2)


def test_the_most_frequent_labels_are_coloured_and_the_rest_is_grey() -> None:
    labels = np.repeat(np.arange(30), np.arange(31, 1, -1))
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    names = [f"person {code}" for code in range(30)]
    some, fewer = (pixels(plot_projection(points, labels, names, "PCA", number)) for number in (4, 2))
    assert palette_colors(some) == set(PALETTE[:4])
    assert palette_colors(fewer) == set(PALETTE[:2])
    assert amount(fewer, GRID) > amount(some, GRID)


@pytest.mark.parametrize("num_labels", [1, 12, 40])
def test_any_number_of_labels_stays_within_the_picture(num_labels: int) -> None:
    labels = np.arange(60) % num_labels
    names = dict.fromkeys(range(num_labels), "王小明, a name without end, " * 9)
    points = np.random.default_rng(0).normal(size=(60, 2))
    picture = pixels(plot_projection(points, labels, names, "a title without end " * 20, num_labels=20))
    assert picture.shape == (975, 1350, 3)
    assert not ink_at_the_edge(picture)


@pytest.mark.parametrize("points", [np.zeros((1, 2)), np.zeros((5, 2))])
def test_points_in_one_place_are_drawn(points: npt.NDArray[np.float64]) -> None:
    picture = pixels(plot_projection(points, np.zeros(len(points), dtype=np.int64), ["Ada"], "PCA"))
    assert palette_colors(picture) == {PALETTE[0]}
