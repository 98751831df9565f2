import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.evaluation.plots.matrix import plot_distance_matrix, sample_label_examples
from pipeline.plotting import PALETTE
from tests.unit.evaluation.plots.pixels import amount, ink_at_the_edge, pixels
from tests.unit.evaluation.samples import unit_vectors

RED, GREEN = "#ff0000", "#00ff00"


def images(number: int) -> list[Image.Image]:
    return [Image.new("RGB", (20, 20), "#808080")] * number


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(1, 6), st.integers(1, 5), st.integers(0, 3))
def test_chosen_examples_are_those_of_labels_that_have_enough(
    codes: list[int], num_labels: int, num_each: int, seed: int
) -> None:
    labels = np.array(codes, dtype=np.int64)
    rows = sample_label_examples(labels, num_labels, num_each, seed)
    assert len(set(rows.tolist())) == len(rows)
    chosen = list(dict.fromkeys(labels[rows].tolist()))
    assert len(chosen) == min(num_labels, len(set(codes)))
    expected = [code for code in chosen for _ in range(min(num_each, codes.count(code)))]
    assert labels[rows].tolist() == expected
    fewest = min((min(num_each, codes.count(code)) for code in chosen), default=0)
    assert all(min(num_each, codes.count(code)) <= fewest for code in set(codes) - set(chosen))


def test_the_seed_decides_who_is_chosen() -> None:
    labels = np.repeat(np.arange(50), 4)
    np.testing.assert_array_equal(sample_label_examples(labels, 6, 3, 0), sample_label_examples(labels, 6, 3, 0))
    assert set(sample_label_examples(labels, 6, 3, 0)) != set(sample_label_examples(labels, 6, 3, 1))


def test_the_colours_change_over_at_the_threshold() -> None:
    # Two labels at a squared distance of 2, each with two equal images.
    vectors, labels = np.repeat(np.eye(2, dtype=np.float32), 2, axis=0), [0, 0, 1, 1]
    low, high = (plot_distance_matrix(vectors, labels, ["a", "b"], images(4), threshold) for threshold in (1.0, 2.0))
    assert amount(pixels(low), PALETTE[0]) > 50_000  # half of the cells
    assert amount(pixels(low), PALETTE[1]) > 50_000
    assert amount(pixels(high), PALETTE[0]) > 50_000
    assert amount(pixels(high), PALETTE[1]) < 5_000  # but for the scale


def test_images_of_a_label_are_brought_together() -> None:
    vectors, _ = unit_vectors(4, 2, noise=1.0, seed=0)
    pictures = [Image.new("RGB", (9, 9), color) for color in (RED, GREEN, RED, GREEN)]
    order = [0, 2, 1, 3]
    mixed = plot_distance_matrix(vectors, [0, 1, 0, 1], ["a", "b"], pictures, 1.0)
    sorted_ = plot_distance_matrix(vectors[order], [0, 0, 1, 1], ["a", "b"], [pictures[i] for i in order], 1.0)
    assert mixed == sorted_


def test_numbers_are_left_out_where_they_would_be_unreadable() -> None:
    vectors = np.repeat(np.eye(1, 4, dtype=np.float32), 25, axis=0)
    inks = []
    for number in (24, 25):
        labels = np.zeros(number, dtype=np.int64)
        picture = pixels(plot_distance_matrix(vectors[:number], labels, ["a"], images(number), 1.0))
        height, width, _ = picture.shape
        cells = picture[height // 3 : height // 2, width // 2 : width * 3 // 4]
        inks.append(amount(cells, "#ffffff"))
    assert inks[0] > 1000
    assert inks[1] == 0


@pytest.mark.parametrize(("number", "threshold"), [(1, 1.1), (36, 1.1), (2, -1e-45), (2, 0.0), (2, 3.0), (2, np.inf)])
def test_any_number_of_images_and_any_threshold_fit(number: int, threshold: float) -> None:
    vectors, labels = unit_vectors(number, 5, noise=1.0, seed=0)
    names = ["王小明 and a name without end " * 9] * 5
    assert not ink_at_the_edge(pixels(plot_distance_matrix(vectors, labels, names, images(number), threshold)))


@pytest.mark.parametrize(("num_vectors", "num_images"), [(0, 0), (37, 37), (3, 4)])
def test_a_wrong_number_of_images_is_a_programming_error(num_vectors: int, num_images: int) -> None:
    vectors = np.ones((num_vectors, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="give 1 to 36 of each"):
        plot_distance_matrix(vectors, np.zeros(num_vectors), ["a"], images(num_images), 1.0)
