import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import PredefinedSplit, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from pipeline.arrays import Float32Array, Int64Array
from pipeline.config import RecognitionConfig
from pipeline.errors import InputError
from pipeline.evaluation.recognition import linear_svm
from pipeline.evaluation.recognition import protocol as recognition
from pipeline.evaluation.recognition.linear_svm import LinearSvm
from pipeline.evaluation.recognition.protocol import evaluate_recognition
from tests.unit.evaluation.samples import unit_vectors

CONFIG = RecognitionConfig()
ALL_KERNELS = RecognitionConfig(svm_kernels=("linear", "rbf"), num_folds=4)


def deal(labels: Int64Array, num_folds: int, seed: int) -> Int64Array:
    return recognition._deal_folds(labels, num_folds, np.random.default_rng(seed))


@given(st.lists(st.integers(2, 15), min_size=2, max_size=12), st.integers(2, 10), st.integers(0, 2**32))
def test_folds_hold_as_many_of_each_label_as_scikit_learns_and_none_is_tested_untrained(
    counts: list[int], num_folds: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = deal(labels, num_folds, seed)
    for label, count in enumerate(counts):
        in_folds = Counter(folds[labels == label].tolist())
        assert max(in_folds.values()) - (min(in_folds.values()) if len(in_folds) == num_folds else 0) <= 1
        assert len(in_folds) == min(count, num_folds) >= 2
    if max(counts) >= num_folds:
        ordered = np.sort(labels)  # StratifiedKFold counts labels by their first appearance
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of labels with fewer examples than folds
            theirs = np.empty(len(labels), dtype=int)
            for fold, (_, test) in enumerate(StratifiedKFold(num_folds).split(ordered, ordered)):
                theirs[test] = fold
        assert Counter(zip(ordered, theirs, strict=True)) == Counter(zip(labels, folds, strict=True))


def test_folds_are_shuffled_by_seed_within_a_label() -> None:
    labels = np.repeat(np.arange(20), 5)
    np.testing.assert_array_equal(deal(labels, 5, seed=1), deal(labels, 5, seed=1))
    assert not np.array_equal(deal(labels, 5, seed=1), deal(labels, 5, seed=2))


def test_classifiers_are_scikit_learns_on_the_same_folds() -> None:
    vectors, labels = unit_vectors(240, 12, noise=0.9, seed=0)
    report = evaluate_recognition(vectors, labels, ALL_KERNELS, seed=3)
    assert len(set(labels.tolist())) == report.num_labels == 12
    scaled = recognition._scale(vectors)
    split = PredefinedSplit(dealt_after_drawing(labels, 4, seed=3))
    oracles = {f"knn_{k}": KNeighborsClassifier(k, weights="distance", algorithm="brute") for k in (1, 3, 5)}
    oracles["svm_rbf"] = SVC(C=10.0, gamma=1.0)
    for name, oracle in oracles.items():
        expected = cross_val_score(oracle, scaled.astype(np.float64), labels, cv=split)
        np.testing.assert_allclose(report.classifiers[name].accuracies, expected, err_msg=name)
    expected = cross_val_score(LinearSVC(C=1.0, max_iter=100_000), scaled, labels, cv=split)
    np.testing.assert_allclose(report.classifiers["svm_linear"].accuracies, expected, atol=1.01 / 60)
    assert 0.3 < report.classifiers["svm_linear"].accuracy < 0.99


def dealt_after_drawing(labels: Int64Array, num_folds: int, seed: int) -> Int64Array:
    """The folds of a report: its generator draws the order of the labels before."""
    rng = np.random.default_rng(seed)
    rng.permutation(len(np.unique(labels)))
    return recognition._deal_folds(labels, num_folds, rng)


@settings(max_examples=15)
@given(st.integers(2, 12), st.floats(0.2, 1.5), st.sampled_from([0.1, 1.0, 10.0]), st.integers(0, 2**32))
def test_the_linear_machine_reaches_the_loss_of_liblinear(
    num_labels: int, noise: float, penalty: float, seed: int
) -> None:
    vectors, labels = unit_vectors(150, num_labels, noise, seed)
    if len(np.unique(labels)) < 2:
        return
    machine = LinearSvm(penalty).fit(vectors, labels)
    ours, weights = machine.decision_function(vectors), machine.weights_
    for column, label in enumerate(np.unique(labels)):
        signs = np.where(labels == label, 1, -1)
        theirs = LinearSVC(C=penalty, max_iter=1_000_000, tol=1e-6).fit(vectors.astype(np.float64), signs)
        their_weights = np.append(theirs.coef_, theirs.intercept_)

        def loss(w: Float32Array, decisions: Float32Array, signs: Int64Array = signs) -> float:
            return 0.5 * float(w @ w) + penalty * float((np.maximum(0, 1 - signs * decisions) ** 2).sum())

        assert loss(weights[:, column], ours[:, column]) <= 1.01 * loss(
            their_weights, theirs.decision_function(vectors)
        )


def test_two_labels_on_a_line_are_parted_where_the_mathematics_says() -> None:
    """x = ±1, C = 1: by symmetry b = 0 and w minimises w²/2 + 2 (1 - w)², so that w = 4/5."""
    machine = LinearSvm(1.0).fit(np.array([[1.0], [-1.0]], dtype=np.float32), np.array([7, 3]))
    assert machine.classes_.tolist() == [3, 7]
    np.testing.assert_allclose(machine.weights_, [[-0.8, 0.8], [0.0, 0.0]], atol=1e-3)
    assert machine.score(np.array([[0.1], [-0.1]], dtype=np.float32), np.array([7, 3])) == 1.0


def test_tiles_of_labels_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = unit_vectors(200, 20, noise=0.6, seed=0)
    whole = LinearSvm(1.0).fit(vectors, labels)
    monkeypatch.setattr(linear_svm, "MAX_TILE_VALUES", 700)
    tiled = LinearSvm(1.0).fit(vectors, labels)
    np.testing.assert_allclose(tiled.weights_, whole.weights_, atol=0.03)
    assert (tiled.decision_function(vectors).argmax(1) == whole.decision_function(vectors).argmax(1)).mean() > 0.98


def test_too_few_iterations_are_told() -> None:
    vectors, labels = unit_vectors(100, 5, noise=0.6, seed=0)
    assert recognition._is_converged(LinearSvm(1.0).fit(vectors, labels))
    assert not recognition._is_converged(LinearSvm(1.0, max_iter=2).fit(vectors, labels))


def test_labels_with_too_few_examples_are_left_out() -> None:
    labels = np.concatenate([np.repeat([0, 1, 2], 5), np.repeat([3, 4], 2), [5]])
    report = evaluate_recognition(unit_vectors(20, 4, 0.5, seed=0)[0], labels, CONFIG, seed=0)
    assert (report.num_labels, report.num_examples) == (3, 15)
    assert report.majority_share == 1 / 3


def test_where_there_are_too_many_examples_whole_labels_are_drawn_by_seed() -> None:
    labels = np.repeat(np.arange(30), 4)
    vectors = unit_vectors(120, 30, 0.5, seed=0)[0]
    config = RecognitionConfig(max_examples=50, svm_kernels=())
    report = evaluate_recognition(vectors, labels, config, seed=0)
    assert (report.num_labels, report.num_examples) == (13, 52)  # the first number of labels that reaches 50
    assert (report.num_eligible_labels, report.num_eligible_examples) == (30, 120)
    others = [evaluate_recognition(vectors, labels, config, seed).to_dict() for seed in (0, 1)]
    assert others[0] == report.to_dict() != others[1]
    config = RecognitionConfig(max_examples=1, svm_kernels=(), num_folds=4, num_neighbours=(1,))
    assert evaluate_recognition(vectors, labels, config, seed=0).num_labels == 2


def test_perfect_embeddings_are_recognised_whole_and_a_collapsed_encoder_by_chance() -> None:
    labels = np.repeat(np.arange(6), 5)
    perfect = evaluate_recognition(np.eye(6, dtype=np.float32)[labels], labels, ALL_KERNELS, seed=0)
    assert set(perfect.metrics().values()) == {1.0}
    collapsed = evaluate_recognition(np.full((30, 6), 0.4, dtype=np.float32), labels, ALL_KERNELS, seed=0)
    assert max(collapsed.metrics().values()) <= 1 / 3


def test_how_close_together_a_checkpoint_puts_its_embeddings_does_not_matter() -> None:
    vectors, labels = unit_vectors(200, 10, noise=0.8, seed=0)
    near = (np.eye(8)[0] + 2.0**-6 * vectors).astype(np.float32)
    first, second = (evaluate_recognition(each, labels, ALL_KERNELS, seed=0).metrics() for each in (vectors, near))
    assert second == pytest.approx(first, abs=0.011)


def test_of_three_neighbours_with_three_labels_the_nearest_wins_whatever_its_code() -> None:
    vectors = np.array([[0.0], [0.3], [0.4], [-9.0]], dtype=np.float32)
    make = recognition._classifiers(CONFIG)["knn_3"]
    classifier = make()
    classifier.fit(vectors, np.array([9, 1, 2, 3]))
    assert classifier.score(np.array([[0.1]], dtype=np.float32), np.array([9])) == 1.0


def test_errors_are_those_of_the_folds() -> None:
    report = evaluate_recognition(*unit_vectors(80, 8, 0.6, seed=0), CONFIG, seed=0)
    assert set(report.metrics()) == set(report.standard_errors())
    document = report.to_dict()
    folds = document["classifiers"]["knn_3"]["folds"]
    assert len(folds) == 10
    assert document["knn_3_accuracy"] == pytest.approx(sum(folds) / 10)
    assert document["standard_errors"]["knn_3_accuracy"] == pytest.approx(np.std(folds, ddof=1) / 10**0.5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2] * 2 + [3] * 4, r"two labels with 3 examples, but 1 of the 4 .*min_examples"),
        (list(range(10)), "but 0 of the 10"),
        ([0] * 10, "but 1 of the 1"),
        ([0, 1] * 3 + [5, 6, 7, 8], "6 examples .* too few for 10 folds"),
    ],
)
def test_too_few_labels_or_examples_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_recognition(np.eye(10, dtype=np.float32), labels, CONFIG, seed=0)


def test_more_neighbours_than_training_examples_are_refused() -> None:
    config = RecognitionConfig(num_neighbours=(1, 9), num_folds=5)
    with pytest.raises(InputError, match="9 neighbours"):
        evaluate_recognition(np.eye(10, dtype=np.float32), [0, 1] * 5, config, seed=0)
