"""Labeled Faces in the Wild by its own rules (Huang et al., UMass Amherst TR 07-49, and the README of its files).

Same or different? One threshold decides, and it is never chosen on the pairs that it judges. Distances are squared L2.
N: examples, D: embedding dimension, P: listed pairs. Folds count from 0 in arrays, from 1 in messages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, Float32Array, Int64Array
from pipeline.config import EvaluationConfig
from pipeline.errors import InputError
from pipeline.evaluation.lfw.scores import FoldScore, SettingScore, View1, View2
from pipeline.evaluation.verification.pairs import check_finite, pair_distances
from pipeline.evaluation.verification.protocol import OperatingPoint, Verification, evaluate_pairs


@dataclass(frozen=True, eq=False)
class ListedPairs:
    """Pairs of an official file.

    Attributes:
        ids_P2: (P, 2) int64, rows of the embeddings.
        is_same_P: (P,) bool, whether both examples are of one person.
        fold_P: (P,) int64, the pair's fold, 0 to F - 1; all 0 in View 1.
    """

    ids_P2: Int64Array
    is_same_P: BoolArray
    fold_P: Int64Array


@dataclass(frozen=True, eq=False)
class OfficialFolds:
    """The folds of View 2.

    Attributes:
        pairs: Those of pairs.txt.
        people: The label codes of each fold's people, for the unrestricted setting; None where they are not known.
    """

    pairs: ListedPairs
    people: Sequence[Int64Array] | None = None

    def people_of_folds(self, labels: npt.NDArray[np.generic]) -> list[Int64Array]:
        """Label codes of each fold's people: as given, or those in its pairs; no two folds may share any."""
        num_folds = int(self.pairs.fold_P.max()) + 1
        in_pairs = [np.unique(labels[self.pairs.ids_P2[self.pairs.fold_P == fold]]) for fold in range(num_folds)]
        if self.people is not None and len(self.people) != num_folds:
            raise InputError(
                f"LFW's pairs have {num_folds} folds, but its people {len(self.people)} sets: give pairs.txt and "
                "people.txt of one publication"
            )
        people_F = in_pairs if self.people is None else [np.unique(codes) for codes in self.people]
        for fold in range(num_folds):
            num_strangers = len(np.setdiff1d(in_pairs[fold], people_F[fold]))
            if num_strangers:
                raise InputError(
                    f"the pairs of LFW fold {fold + 1} show {num_strangers} people who are not in its set of people: "
                    "give pairs.txt and people.txt of one publication"
                )
        num_people = len(np.unique(np.concatenate(people_F)))
        if num_people < sum(len(codes) for codes in people_F):
            raise InputError("two LFW folds share people, so that neither tests the other: give the files as published")
        return people_F


def score_view2(
    embeddings_ND: Float32Array,
    labels_N: npt.ArrayLike,
    folds: OfficialFolds,
    config: EvaluationConfig,
    seed: int,
    trained_labels: npt.ArrayLike | None = None,
) -> View2:
    """Scores each fold with thresholds that were chosen on other folds, same and different pairs weighing equally.

    Restricted: on the listed pairs of those folds. Unrestricted: on all pairs that the people of those folds form.

    A fold is clean if the model was trained on none of its people. Only clean folds are scored, and thresholds are
    chosen on the other clean folds, where there are any: people whom the model was trained on lie too close together
    to tell where strangers do. A single clean fold is judged by the thresholds of all others.

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        folds: Their pairs and people.
        config: False accept rates, how many pairs are sampled in the unrestricted setting, and whether all folds are
            scored where none is clean.
        seed: Seeds the sample.
        trained_labels: Label codes that the model was trained on; None for none of them.

    Raises:
        InputError: No fold is clean, fewer than two folds, one without same or different pairs, pairs that
            contradict the labels or leave their fold, or an embedding that is not finite.
    """
    labels, pairs = np.asarray(labels_N), folds.pairs
    distances_P = _listed_distances(embeddings_ND, labels, pairs)
    num_folds = int(pairs.fold_P.max()) + 1
    if num_folds < 2:
        raise InputError(
            "LFW View 2 needs two folds or more, but its pairs have one: give pairs.txt, not View 1's files"
        )
    people_F = folds.people_of_folds(labels)
    clean = [fold for fold in range(num_folds) if not _num_trained(people_F[fold], trained_labels)]
    if not clean and not config.allow_trained_labels:
        raise InputError(
            f"the model was trained on people of each of the {num_folds} LFW folds, so that its score would mean "
            "little: train without the people of a fold, or set evaluation.allow_trained_labels"
        )

    def listed_pairs(chosen: Sequence[int]) -> Verification:
        return _verification(distances_P, pairs.is_same_P, np.isin(pairs.fold_P, chosen))

    def all_pairs(chosen: Sequence[int]) -> Verification:
        rows = np.isin(labels, np.concatenate([people_F[fold] for fold in chosen]))
        return evaluate_pairs(embeddings_ND[rows], labels[rows], config.max_pairs, seed)

    def score(pairs_of: Callable[[Sequence[int]], Verification]) -> SettingScore:
        scores = (
            _score_fold(fold, others[fold], pairs_of(others[fold]), listed_pairs([fold]), config.fars)
            for fold in others
        )
        return SettingScore(tuple(scores))

    others = _other_folds(clean, num_folds)
    return View2(
        restricted=score(listed_pairs),
        unrestricted=None if folds.people is None else score(all_pairs),
        verifications=(listed_pairs(list(others)),),
        num_folds=num_folds,
        num_trained_folds=0 if clean else num_folds,
    )


def score_view1(
    embeddings_ND: Float32Array,
    labels_N: npt.ArrayLike,
    train: ListedPairs,
    test: ListedPairs,
    *,
    trained_labels: npt.ArrayLike | None = None,
    allow_trained_labels: bool = False,
) -> View1:
    """Chooses the threshold on the pairs of pairsDevTrain.txt, and judges those of pairsDevTest.txt by it.

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        train: Pairs of the development training set.
        test: Pairs of the development test set.
        trained_labels: Label codes that the model was trained on; None for none of them.
        allow_trained_labels: Score people that the model was trained on, and say so, instead of refusing.

    Raises:
        InputError: The model was trained on people of the test pairs, the sets share people, one lacks same or
            different pairs, pairs contradict the labels, or an embedding is not finite.
    """
    labels = np.asarray(labels_N)
    verifications = [
        _verification(
            _listed_distances(embeddings_ND, labels, pairs), pairs.is_same_P, np.ones(len(pairs.ids_P2), bool)
        )
        for pairs in (train, test)
    ]
    train_people, test_people = (np.unique(labels[pairs.ids_P2]) for pairs in (train, test))
    num_shared = len(np.intersect1d(train_people, test_people))
    if num_shared:
        raise InputError(
            f"LFW View 1's training and test pairs share {num_shared} people: give pairsDevTrain.txt and "
            "pairsDevTest.txt as they are published"
        )
    num_trained = _num_trained(test_people, trained_labels)
    if num_trained and not allow_trained_labels:
        raise InputError(
            f"the model was trained on {num_trained} of the {len(test_people)} people in LFW View 1's test pairs: "
            "train without them, or set evaluation.allow_trained_labels"
        )
    train_pairs, test_pairs = verifications
    threshold = train_pairs.best_threshold()
    return View1(test_pairs.accuracy(threshold), threshold, test_pairs, num_trained)


def _score_fold(
    fold: int, others: tuple[int, ...], train_pairs: Verification, test_pairs: Verification, fars: Sequence[float]
) -> FoldScore:
    """Scores a fold's pairs by the thresholds that the pairs of the other folds give."""
    threshold = train_pairs.best_threshold()
    limits = [train_pairs.at_far(far).threshold for far in fars]
    return FoldScore(
        fold=fold,
        accuracy=test_pairs.accuracy(threshold),
        threshold=threshold,
        chosen_on=others,
        points=tuple(
            OperatingPoint(far, limit, test_pairs.val(limit), test_pairs.far(limit))
            for far, limit in zip(fars, limits, strict=True)
        ),
        is_resolved=tuple(train_pairs.resolves(far) for far in fars),
    )


def _other_folds(clean: Sequence[int], num_folds: int) -> dict[int, tuple[int, ...]]:
    """The folds to score, and for each the folds on which its thresholds are chosen."""
    all_folds = range(num_folds)
    sources = clean if len(clean) > 1 else all_folds
    return {fold: tuple(other for other in sources if other != fold) for fold in clean or all_folds}


def _num_trained(people: Int64Array, trained_labels: npt.ArrayLike | None) -> int:
    return 0 if trained_labels is None else int(np.isin(people, np.asarray(trained_labels)).sum())


def _listed_distances(embeddings_ND: Float32Array, labels: npt.NDArray[np.generic], pairs: ListedPairs) -> Float32Array:
    """Distances of the pairs in their order, after all checks that need no fold but its own."""
    check_finite(embeddings_ND)
    i_P, j_P = pairs.ids_P2.T
    num_contradicted = int(((labels[i_P] == labels[j_P]) != pairs.is_same_P).sum())
    if num_contradicted:
        raise InputError(
            f"{num_contradicted} of the {len(i_P)} listed LFW pairs are of one person where the corpus has two labels, "
            "or the other way round: prepare the corpus from LFW's own folders, one a person"
        )
    for fold in range(int(pairs.fold_P.max(initial=0)) + 1):
        is_same = pairs.is_same_P[pairs.fold_P == fold]
        if is_same.all() or not is_same.any():
            raise InputError(
                f"LFW fold {fold + 1} lists {is_same.sum()} same and {(~is_same).sum()} different pairs, but needs "
                "both: give the files as published"
            )
    return pair_distances(embeddings_ND, embeddings_ND, i_P, j_P)


def _verification(distances_P: Float32Array, is_same_P: BoolArray, chosen_P: BoolArray) -> Verification:
    return Verification(np.sort(distances_P[chosen_P & is_same_P]), np.sort(distances_P[chosen_P & ~is_same_P]))
