"""Recognition: how well do classifiers do on a frozen embedding? By cross-validation. N: examples, D: dimension.

Nearest neighbours vote by the inverse of their distance: with hundreds of labels, equal votes mostly tie, and the order
of the labels would decide. The linear support vector machine works one against the rest (``linear_svm.py``), that with
radial basis functions is scikit-learn's SVC, one against one: for LFW's 901 labels, 405,450 sub-problems. A fold of
these (7,606 examples, 128 dimensions) takes 4 s of one core with the former and 20 s with the latter, two thirds of it
to predict, which is why it is not the default; Nystroem features before LinearSVC take longer yet.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from pipeline.arrays import Float32Array, Int64Array
from pipeline.config import RecognitionConfig
from pipeline.errors import InputError
from pipeline.evaluation.recognition.linear_svm import LinearSvm
from pipeline.evaluation.splits import sample_labels, standard_error
from pipeline.evaluation.verification.pairs import check_labelled


class Classifier(Protocol):
    """The interface of scikit-learn's classifiers."""

    def fit(self, vectors_ND: Float32Array, labels_N: npt.NDArray[np.generic]) -> object:
        """Trains, from nothing."""

    def score(self, vectors_ND: Float32Array, labels_N: npt.NDArray[np.generic]) -> float:
        """The share of examples that are named rightly."""


@dataclass(frozen=True)
class CrossValidation:
    """One classifier over the folds.

    Attributes:
        accuracies: Share of each fold's examples that the classifier, trained on all other folds, names rightly.
        is_converged: Whether its training came to its end in all folds within the iterations allowed it.
    """

    accuracies: tuple[float, ...]
    is_converged: bool

    @property
    def accuracy(self) -> float:
        """The mean over the folds."""
        return float(np.mean(self.accuracies))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        return {
            "accuracy": self.accuracy,
            "standard_error": standard_error(self.accuracies),
            "is_converged": self.is_converged,
            "folds": list(self.accuracies),
        }


@dataclass(frozen=True)
class RecognitionReport:
    """The accuracies of classifiers on a checkpoint's embedding.

    Attributes:
        classifiers: By name: ``knn_1``, ``svm_linear``, ``svm_rbf`` and so on.
        num_labels: Labels that the classifiers learn.
        num_examples: Their examples.
        num_eligible_labels: Labels with ``min_examples`` examples, before ``max_examples`` drew from them.
        num_eligible_examples: Their examples.
        majority_share: Share of the most frequent label: what a constant guess achieves.
    """

    classifiers: dict[str, CrossValidation]
    num_labels: int
    num_examples: int
    num_eligible_labels: int
    num_eligible_examples: int
    majority_share: float

    def metrics(self) -> dict[str, float]:
        """``knn_1_accuracy``, ``svm_linear_accuracy`` and so on: means over the folds."""
        return {f"{name}_accuracy": folds.accuracy for name, folds in self.classifiers.items()}

    def standard_errors(self) -> dict[str, float]:
        """Of the metrics, by the same names."""
        errors = {name: standard_error(folds.accuracies) for name, folds in self.classifiers.items()}
        return {f"{name}_accuracy": error for name, error in errors.items() if error is not None}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, the counts behind them, and each fold."""
        return self.metrics() | {
            "standard_errors": self.standard_errors(),
            "num_labels": self.num_labels,
            "num_examples": self.num_examples,
            "num_eligible_labels": self.num_eligible_labels,
            "num_eligible_examples": self.num_eligible_examples,
            "majority_share": self.majority_share,
            "classifiers": {name: folds.to_dict() for name, folds in self.classifiers.items()},
        }


def evaluate_recognition(
    vectors_ND: Float32Array, labels_N: npt.ArrayLike, config: RecognitionConfig, seed: int
) -> RecognitionReport:
    """Cross-validates nearest-neighbour classifiers and support vector machines over stratified folds.

    The embeddings are centred and scaled to a mean squared length of 1 (without a look at the labels), so that a
    penalty means the same for every checkpoint, however close together it puts them; neighbours stay the same.

    Args:
        vectors_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        config: The classifiers, the folds, and which labels take part.
        seed: Draws the labels where there are too many examples, and deals the folds.

    Raises:
        InputError: Fewer than two labels have ``config.min_examples`` examples, these are too few for the folds or the
            neighbours, or an embedding is not finite.
    """
    labels = check_labelled(vectors_ND, labels_N)
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(labels, return_counts=True)
    eligible = counts >= config.min_examples
    if eligible.sum() < 2:
        raise InputError(
            f"recognition needs two labels with {config.min_examples} examples, but {eligible.sum()} of the "
            f"{len(distinct)} evaluated labels has so many: lower evaluation.recognition.min_examples, or raise "
            "corpus.test_fraction and prepare the corpus again"
        )
    sampled = sample_labels(distinct[eligible], counts[eligible], config.max_examples, rng)
    rows = np.flatnonzero(np.isin(labels, sampled))
    _check_size(len(rows), config)
    folds = _deal_folds(labels[rows], config.num_folds, rng)
    scaled_ND = _scale(vectors_ND[rows])
    return RecognitionReport(
        classifiers={
            name: _cross_validate(make, scaled_ND, labels[rows], folds) for name, make in _classifiers(config).items()
        },
        num_labels=len(sampled),
        num_examples=len(rows),
        num_eligible_labels=int(eligible.sum()),
        num_eligible_examples=int(counts[eligible].sum()),
        majority_share=float(np.unique(labels[rows], return_counts=True)[1].max() / len(rows)),
    )


def _check_size(num_examples: int, config: RecognitionConfig) -> None:
    num_trained_on = num_examples - -(-num_examples // config.num_folds)
    if num_examples < config.num_folds or num_trained_on < max(config.num_neighbours):
        raise InputError(
            f"recognition has {num_examples} examples of labels with {config.min_examples} or more, too few for "
            f"{config.num_folds} folds and {max(config.num_neighbours)} neighbours: lower "
            "evaluation.recognition.num_folds and num_neighbours, or raise corpus.test_fraction and prepare the corpus "
            "again"
        )


def _deal_folds(labels_N: npt.NDArray[np.generic], num_folds: int, rng: np.random.Generator) -> Int64Array:
    """The fold of each example, by seed: label after label, examples are dealt to the folds in turn.

    As many of each label are in a fold as in scikit-learn's StratifiedKFold, which refuses where no label has as many
    examples as there are folds. A label with two examples or more is in two folds, so none is tested untrained.
    """
    order = np.lexsort((rng.random(len(labels_N)), labels_N))
    folds = np.empty(len(labels_N), dtype=np.int64)
    folds[order] = np.arange(len(labels_N)) % num_folds
    return folds


def _scale(vectors_ND: Float32Array) -> Float32Array:
    centred_ND = vectors_ND.astype(np.float64)
    centred_ND -= centred_ND.mean(axis=0)
    length = np.sqrt(np.square(centred_ND).sum(axis=1).mean())
    return (centred_ND / length if length > 0 else centred_ND).astype(np.float32)


def _classifiers(config: RecognitionConfig) -> dict[str, Callable[[], Classifier]]:
    machines: dict[str, Callable[[], Classifier]] = {
        "linear": partial(LinearSvm, config.svm_linear_c),
        "rbf": partial(SVC, C=config.svm_rbf_c, kernel="rbf", gamma="scale"),
    }
    neighbours = {f"knn_{k}": partial(KNeighborsClassifier, k, weights="distance") for k in config.num_neighbours}
    return neighbours | {f"svm_{kernel}": machines[kernel] for kernel in config.svm_kernels}


def _cross_validate(
    make: Callable[[], Classifier], vectors_ND: Float32Array, labels_N: npt.NDArray[np.generic], folds_N: Int64Array
) -> CrossValidation:
    """Trains and tests on each fold, as many folds at a time as there are cores, each on one core."""

    def test_fold(fold: int) -> tuple[float, bool]:
        is_test = folds_N == fold
        classifier = make()
        classifier.fit(vectors_ND[~is_test], labels_N[~is_test])
        return float(classifier.score(vectors_ND[is_test], labels_N[is_test])), _is_converged(classifier)

    num_folds = int(folds_N.max()) + 1
    # All of these classifiers release Python's lock while they compute.
    with threadpool_limits(1), ThreadPoolExecutor(min(num_folds, os.cpu_count() or 1)) as threads:
        accuracies, converged = zip(*threads.map(test_fold, range(num_folds)), strict=True)
    return CrossValidation(accuracies, all(converged))


def _is_converged(classifier: Classifier) -> bool:
    limit = getattr(classifier, "max_iter", -1)  # scikit-learn's sign for no limit
    return limit < 0 or bool(np.max(getattr(classifier, "n_iter_", 0)) < limit)
