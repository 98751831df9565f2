import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import RetrievalConfig
from pipeline.errors import InputError
from pipeline.evaluation import neighbours, retrieval
from pipeline.evaluation.retrieval import Recall, Retrieval, evaluate_retrieval, recall_at_1
from tests.support.metric_learning import AccuracyCalculator, CustomKNN, LpDistance
from tests.unit.evaluation.samples import unit_vectors

CONFIG = RetrievalConfig(ks=(1, 2, 4, 8))


def oracle(
    embeddings: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    ks: tuple[int, ...] = CONFIG.ks,
    others: npt.NDArray[np.float32] | None = None,
) -> Retrieval:
    """By definition, one query after another."""
    gallery = (embeddings if others is None else others).astype(np.float64)
    recalls: dict[int, list[bool]] = {k: [] for k in ks}
    r_precisions, average_precisions = [], []
    for query in range(len(labels)):
        num_relevant = int((labels == labels[query]).sum()) - 1
        if not num_relevant:
            continue
        distances = ((gallery - embeddings[query].astype(np.float64)) ** 2).sum(axis=1)
        ranked = sorted((distance, row) for row, distance in enumerate(distances) if row != query)
        is_same = [bool(labels[row] == labels[query]) for _, row in ranked]
        for k in ks:
            recalls[k].append(any(is_same[:k]))
        precisions = [sum(is_same[:place]) / place for place in range(1, num_relevant + 1)]
        r_precisions.append(precisions[-1])
        hits = [precision for precision, hit in zip(precisions, is_same, strict=False) if hit]
        average_precisions.append(sum(hits) / num_relevant)
    return Retrieval(
        num_examples=len(labels),
        num_eligible=len(r_precisions),
        num_queries=len(r_precisions),
        recalls={k: float(np.mean(found)) for k, found in recalls.items()},
        r_precision=float(np.mean(r_precisions)),
        map_at_r=float(np.mean(average_precisions)),
    )


def assert_same(found: Retrieval, expected: Retrieval) -> None:
    assert found.to_dict() == pytest.approx(expected.to_dict(), abs=1e-12)


@given(st.integers(12, 40), st.integers(1, 10), st.floats(0.1, 2.0), st.integers(0, 2**32))
def test_all_figures_are_those_of_a_float64_brute_force(n: int, num_labels: int, noise: float, seed: int) -> None:
    embeddings, labels = unit_vectors(n, num_labels, noise, seed)
    found = evaluate_retrieval(embeddings, labels, CONFIG, seed=0)
    assert_same(found, oracle(embeddings, labels))
    assert recall_at_1(embeddings, labels) == Recall(found.num_queries, found.recalls[1])


@pytest.mark.parametrize("noise", [0.3, 0.8, 1.5])
def test_figures_agree_with_pytorch_metric_learning(noise: float) -> None:
    embeddings, labels = unit_vectors(400, 150, noise, seed=3)
    assert (np.unique(labels, return_counts=True)[1] == 1).any()
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        device=torch.device("cpu"),
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    )
    theirs = calculator.get_accuracy(torch.from_numpy(embeddings), torch.from_numpy(labels))
    ours = evaluate_retrieval(embeddings, labels, CONFIG, seed=0)
    assert ours.recalls[1] == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert ours.r_precision == pytest.approx(theirs["r_precision"], abs=1e-6)
    assert ours.map_at_r == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)


def test_worked_examples_with_ten_relevant_examples() -> None:
    # After the table of Musgrave et al. 2020: hits at place 1; at places 1 and 10; at places 1 and 2; everywhere.
    lists = np.zeros((4, 10), dtype=bool)
    lists[[0, 1, 1, 2, 2], [0, 0, 9, 0, 1]] = True
    lists[3] = True
    r_precision, average_precision = retrieval._precisions_at_r(lists, np.full(4, 10))
    np.testing.assert_allclose(r_precision, [0.1, 0.2, 0.2, 1.0])
    np.testing.assert_allclose(average_precision, [0.1, 0.12, 0.2, 1.0])


def test_a_list_by_hand() -> None:
    # From 0°: 10° wrong, 20° right, 30° wrong, 40° right. R = 2: one of the first two is right, at the second place.
    angles = np.radians([0, 10, 20, 30, 40])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = evaluate_retrieval(embeddings, [0, 1, 0, 2, 0], RetrievalConfig(ks=(1, 2, 3)), seed=0)
    # From 20°, 10° and 30° come first; from 40°: 30° wrong, 20° right.
    assert found.recalls == {1: 0.0, 2: pytest.approx(2 / 3), 3: 1.0}
    assert found.r_precision == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    assert found.map_at_r == pytest.approx((1 / 4 + 0 + 1 / 4) / 3)
    assert (found.num_examples, found.num_eligible, found.num_queries) == (5, 3, 3)


@pytest.mark.parametrize(("queries_per_tile", "gallery_per_tile"), [(1, 1000), (7, 5), (1000, 1), (3, 33)])
def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch, queries_per_tile: int, gallery_per_tile: int) -> None:
    embeddings, labels = unit_vectors(101, 20, noise=0.8, seed=0)
    whole = evaluate_retrieval(embeddings, labels, CONFIG, seed=0)
    monkeypatch.setattr(retrieval, "QUERIES_PER_TILE", queries_per_tile)
    monkeypatch.setattr(neighbours, "GALLERY_PER_TILE", gallery_per_tile)
    assert evaluate_retrieval(embeddings, labels, CONFIG, seed=0) == whole
    assert 0 < whole.map_at_r < 1


def test_long_lists_come_in_smaller_tiles_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = unit_vectors(90, 3, noise=0.8, seed=0)
    whole = evaluate_retrieval(embeddings, labels, CONFIG, seed=0)
    monkeypatch.setattr(retrieval, "MAX_LISTED", 40)
    assert evaluate_retrieval(embeddings, labels, CONFIG, seed=0) == whole


@given(st.integers(2, 30), st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**32))
def test_of_equally_near_examples_the_first_counts(n: int, num_places: int, gallery_tile: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places, labels = rng.integers(num_places, size=n), rng.integers(3, size=n)
    labels[0] = labels[1]
    embeddings = np.eye(num_places, dtype=np.float32)[places]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "GALLERY_PER_TILE", gallery_tile)
        assert_same(evaluate_retrieval(embeddings, labels, CONFIG, seed=0), oracle(embeddings, labels))


def test_an_example_is_never_its_own_answer() -> None:
    embeddings = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], dtype=np.float32)
    found = evaluate_retrieval(embeddings, [0, 0, 1, 1], CONFIG, seed=0)
    assert (found.recalls[1], found.r_precision, found.map_at_r) == (0.0, 0.0, 0.0)


@given(st.integers(12, 40), st.integers(0, 2**32))
def test_queries_of_one_network_search_the_examples_of_another(n: int, seed: int) -> None:
    embeddings, labels = unit_vectors(n, 5, noise=0.6, seed=seed)
    noise = np.random.default_rng(seed).normal(scale=0.2, size=embeddings.shape)
    others = (embeddings + noise).astype(np.float32)
    found = evaluate_retrieval(embeddings, labels, CONFIG, seed=0, others_ND=others)
    assert_same(found, oracle(embeddings, labels, others=others))


def test_singletons_ask_nothing_but_can_be_a_wrong_answer() -> None:
    embeddings = np.array([[1, 0], [0, 1], [1, 0.1]], dtype=np.float32)
    assert recall_at_1(embeddings, [5, 5, 9]) == Recall(num_queries=2, recall_at_1=0.0)
    found = evaluate_retrieval(embeddings, [5, 5, 9], CONFIG, seed=0)
    assert (found.num_eligible, found.recalls) == (2, {1: 0.0, 2: 1.0, 4: 1.0, 8: 1.0})


def test_vectors_of_other_lengths_are_compared_by_distance() -> None:
    embeddings = np.array([[1, 0], [0.6, 0.1], [30, 0]], dtype=np.float32)
    assert recall_at_1(embeddings, [0, 0, 1]).recall_at_1 == 1.0


def test_a_sample_of_the_queries_searches_all_examples() -> None:
    embeddings, labels = unit_vectors(600, 60, noise=0.7, seed=0)
    whole = evaluate_retrieval(embeddings, labels, CONFIG, seed=0)
    config = RetrievalConfig(ks=CONFIG.ks, max_queries=200)
    samples = [evaluate_retrieval(embeddings, labels, config, seed) for seed in range(40)]
    assert samples[0] == evaluate_retrieval(embeddings, labels, config, seed=0)
    assert len({sample.map_at_r for sample in samples}) > 1
    assert {(sample.num_examples, sample.num_eligible, sample.num_queries) for sample in samples} == {(600, 600, 200)}
    assert np.mean([sample.map_at_r for sample in samples]) == pytest.approx(whole.map_at_r, abs=0.01)


def test_the_document_has_stable_names() -> None:
    found = evaluate_retrieval(*unit_vectors(80, 8, noise=0.6, seed=0), CONFIG, seed=0)
    assert set(found.to_dict()) - set(found.metrics()) == {"num_examples", "num_eligible", "num_queries"}


def test_labels_without_a_second_example_are_refused() -> None:
    with pytest.raises(InputError, match="needs two examples of one label"):
        recall_at_1(np.eye(3, dtype=np.float32), [0, 1, 2])
    with pytest.raises(InputError, match="needs two examples of one label"):
        evaluate_retrieval(np.eye(3, dtype=np.float32), [0, 1, 2], CONFIG, seed=0)


def test_broken_embeddings_are_refused() -> None:
    embeddings, labels = unit_vectors(20, 3, noise=0.6, seed=0)
    broken = embeddings.copy()
    broken[3, 0] = np.nan
    for first, second in ((broken, embeddings), (embeddings, broken)):
        with pytest.raises(InputError, match="1 of 20 embeddings hold NaN"):
            evaluate_retrieval(first, labels, CONFIG, seed=0, others_ND=second)


def test_arrays_that_do_not_match_are_a_programming_error() -> None:
    embeddings, labels = unit_vectors(20, 3, noise=0.6, seed=0)
    with pytest.raises(ValueError, match=r"are not \(N, D\)"):
        evaluate_retrieval(embeddings, labels, CONFIG, seed=0, others_ND=embeddings[:, 1:])
