import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.config import EvaluationConfig
from pipeline.errors import InputError
from pipeline.evaluation import quantisation
from pipeline.evaluation.evaluate import evaluate_embeddings
from pipeline.evaluation.quantisation import evaluate_quantisation, quantise, restore, rounding_bound
from tests.unit.evaluation.samples import unit_vectors

CONFIG = EvaluationConfig()
# Of the few additions, products and roots between them, in float32.
ROUNDING = 2e-6


def unit(vectors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    exact = np.asarray(vectors, dtype=np.float64)
    return np.asarray(exact / np.linalg.norm(exact, axis=1, keepdims=True), dtype=np.float32)


@st.composite
def some_unit_vectors(draw: st.DrawFn) -> npt.NDArray[np.float32]:
    """A few vectors of any dimension, evenly spread or with most of their length in few coordinates."""
    num_dims = draw(st.integers(1, 200))
    vectors = np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=(4, num_dims))
    return unit(np.sign(vectors) * np.abs(vectors) ** draw(st.sampled_from([0.0, 0.5, 1.0, 3.0, 9.0])))


def test_the_largest_coordinate_becomes_127_and_the_others_keep_their_share() -> None:
    vectors = np.array([[0.6, 0.8], [-0.8, 0.6], [0.0, -1.0]], dtype=np.float32)
    assert quantise(vectors).tolist() == [[95, 127], [-127, 95], [0, -127]]  # 127 x 0.75 = 95.25
    assert quantise(vectors).dtype == np.int8


def test_a_code_stands_for_the_unit_vector_of_its_direction() -> None:
    restored = restore(np.array([[3, -4], [127, 0]], dtype=np.int8))
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, [[0.6, -0.8], [1.0, 0.0]], rtol=1e-7)


@given(some_unit_vectors())
def test_each_code_is_the_nearest_whole_number(vectors: npt.NDArray[np.float32]) -> None:
    codes, exact = quantise(vectors).astype(int), vectors.astype(np.float64)
    assert np.abs(127 * exact / np.abs(exact).max(axis=1, keepdims=True) - codes).max() <= 0.50002
    assert np.abs(codes).max(axis=1).tolist() == [127] * len(codes)


@given(some_unit_vectors())
def test_a_restored_vector_is_a_unit_vector_within_the_proven_bound(vectors: npt.NDArray[np.float32]) -> None:
    restored = restore(quantise(vectors)).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(restored, axis=1), 1, rtol=1e-6)
    moved = np.linalg.norm(restored - vectors, axis=1)
    assert (moved <= rounding_bound(vectors) + ROUNDING).all()


@given(some_unit_vectors())
def test_squared_distances_change_by_no_more_than_the_bound_allows(vectors: npt.NDArray[np.float32]) -> None:
    restored, bound = restore(quantise(vectors)).astype(np.float64), rounding_bound(vectors)
    for i in range(len(vectors)):
        for j in range(i):
            exact = float(((vectors[i].astype(np.float64) - vectors[j]) ** 2).sum())
            rounded = float(((restored[i] - restored[j]) ** 2).sum())
            moved = bound[i] + bound[j]
            assert abs(rounded - exact) <= moved * (2 * exact**0.5 + moved) + 8 * ROUNDING


def test_the_bound_is_not_idle() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(2000, 128)))
    moved = np.linalg.norm(restore(quantise(vectors)) - vectors, axis=1)
    assert moved.max() > rounding_bound(vectors).max() / 4
    assert rounding_bound(vectors).max() < 0.04
    assert (rounding_bound(np.eye(128, dtype=np.float32)) <= 128**0.5 / 254).all()


@given(arrays(np.int8, (3, 5), elements=st.integers(-127, 127)))
def test_what_was_restored_has_the_same_code_again(codes: npt.NDArray[np.int8]) -> None:
    codes[:, 0] = 127
    np.testing.assert_array_equal(quantise(restore(codes)), codes)


@given(some_unit_vectors())
def test_opposite_vectors_have_opposite_codes(vectors: npt.NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(quantise(-vectors), -quantise(vectors))


def test_a_zero_vector_stays_zero() -> None:
    vectors = np.zeros((2, 3), dtype=np.float32)
    vectors[1, 0] = 1
    assert restore(quantise(vectors)).tolist() == [[0, 0, 0], [1, 0, 0]]


def test_the_shortest_and_the_longest_vectors_keep_their_direction() -> None:
    vectors = np.array([[1e-45, 0], [1e-40, -1e-40], [3e38, -3e38]], dtype=np.float32)
    assert quantise(vectors).tolist() == [[127, 0], [127, -127], [127, -127]]


def test_no_vectors_have_no_codes() -> None:
    assert quantise(np.empty((0, 128), dtype=np.float32)).shape == restore(np.empty((0, 128), dtype=np.int8)).shape


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_counted_and_refused(broken: float) -> None:
    vectors = np.eye(5, dtype=np.float32)
    vectors[[1, 3], 0] = broken
    with pytest.raises(InputError, match="2 of 5 embeddings hold NaN or infinity"):
        quantise(vectors)


def test_float16_and_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = unit(np.random.default_rng(0).normal(size=(50, 16))).astype(np.float16)
    whole = quantise(halves.astype(np.float32))
    monkeypatch.setattr(quantisation, "ROWS_PER_TILE", 7)
    np.testing.assert_array_equal(quantise(halves), whole)


def test_the_figures_are_those_of_the_vectors_and_of_their_codes() -> None:
    embeddings, labels = unit_vectors(150, 15, noise=0.9, seed=0, dim=32)
    result = evaluate_quantisation(embeddings, labels, CONFIG, seed=0)
    for vectors, found in ((embeddings, result.exact), (restore(quantise(embeddings)), result.quantised)):
        expected = evaluate_embeddings(vectors, labels, CONFIG, seed=0).metrics()
        assert {name: found[name] for name in expected} == expected
    metrics = result.metrics()
    assert set(metrics) == {"int8_max_distance_error"} | {
        f"{name}_int8{change}" for name in [*expected, "pair_accuracy"] for change in ("", "_change")
    }
    for name, value in result.exact.items():
        assert metrics[f"{name}_int8_change"] == pytest.approx(metrics[f"{name}_int8"] - value)


def test_codes_of_128_dimensions_cost_next_to_no_accuracy() -> None:
    embeddings, labels = unit_vectors(1000, 100, noise=2.0, seed=1, dim=128)
    result = evaluate_quantisation(embeddings, labels, CONFIG, seed=0)
    assert 0.5 < result.exact["recall_at_1"] < 1.0  # there is something to lose
    for name in ("recall_at_1", "roc_auc", "pair_accuracy", "val_at_far_1e-02"):
        assert abs(result.metrics()[f"{name}_int8_change"]) < 0.01


def test_the_largest_error_of_a_distance_is_measured_and_within_its_bound() -> None:
    embeddings, labels = unit_vectors(60, 6, noise=0.9, seed=0, dim=32)
    result = evaluate_quantisation(embeddings, labels, CONFIG, seed=0)
    exact, rounded = (
        ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
        for vectors in (embeddings.astype(np.float64), restore(quantise(embeddings)).astype(np.float64))
    )
    assert result.num_distances == 60 * 59 / 2
    assert result.max_distance_error == pytest.approx(np.abs(rounded - exact).max(), abs=1e-6)
    assert 0 < result.max_distance_error <= result.max_distance_bound


def test_the_document_counts_the_bytes() -> None:
    embeddings, labels = unit_vectors(60, 6, noise=0.9, seed=0, dim=128)
    document = evaluate_quantisation(embeddings, labels, CONFIG, seed=0).to_dict()
    assert (document["bytes_per_vector"], document["bytes_per_code"]) == (512, 128)
    assert document["bytes_saved"] == 60 * 384
    assert set(document["exact"]) == {"recall_at_1", "roc_auc", "pair_accuracy", "val_at_far_1e-03", "val_at_far_1e-02"}
