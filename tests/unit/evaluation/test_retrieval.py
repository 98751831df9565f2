import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.evaluation import retrieval
from pipeline.evaluation.retrieval import Recognition, recognise
from tests.unit.evaluation.samples import unit_vectors


def oracle(embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> Recognition:
    hits = []
    for query in range(len(labels)):
        others = [example for example in range(len(labels)) if example != query]
        if not any(labels[example] == labels[query] for example in others):
            continue
        difference = embeddings[others].astype(np.float64) - embeddings[query].astype(np.float64)
        nearest = others[int((difference**2).sum(axis=1).argmin())]
        hits.append(bool(labels[nearest] == labels[query]))
    return Recognition(num_queries=len(hits), recall_at_1=sum(hits) / len(hits))


@given(st.integers(12, 40), st.integers(1, 10), st.floats(0.1, 2.0), st.integers(0, 2**32))
def test_recall_is_that_of_a_float64_brute_force(n: int, num_labels: int, noise: float, seed: int) -> None:
    embeddings, labels = unit_vectors(n, num_labels, noise, seed)
    assert recognise(embeddings, labels) == oracle(embeddings, labels)


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = unit_vectors(101, 20, noise=0.8, seed=0)
    whole = recognise(embeddings, labels)
    monkeypatch.setattr(retrieval, "MAX_TILE_VALUES", 700)
    assert recognise(embeddings, labels) == whole
    assert 0 < whole.recall_at_1 < 1


def test_an_example_is_never_its_own_answer() -> None:
    embeddings = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], dtype=np.float32)
    assert recognise(embeddings, [0, 0, 1, 1]).recall_at_1 == 0.0


def test_singletons_ask_nothing_but_can_be_a_wrong_answer() -> None:
    embeddings = np.array([[1, 0], [0, 1], [1, 0.1]], dtype=np.float32)
    assert recognise(embeddings, [5, 5, 9]) == Recognition(num_queries=2, recall_at_1=0.0)


def test_vectors_of_other_lengths_are_compared_by_distance() -> None:
    embeddings = np.array([[1, 0], [0.6, 0.1], [30, 0]], dtype=np.float32)
    assert recognise(embeddings, [0, 0, 1]).recall_at_1 == 1.0


def test_labels_without_a_second_example_are_refused() -> None:
    with pytest.raises(InputError, match="needs two examples of one label"):
        recognise(np.eye(3, dtype=np.float32), [0, 1, 2])
