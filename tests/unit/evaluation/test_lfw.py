import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve
from sklearn.model_selection import LeaveOneGroupOut

from pipeline.config import EvaluationConfig
from pipeline.corpus.lfw_files import find_pairs, find_people, read_pairs, read_people
from pipeline.errors import InputError
from pipeline.evaluation.lfw.scores import View1, View2
from pipeline.evaluation.lfw.view2 import ListedPairs, OfficialFolds, score_view1, score_view2
from tests.support.lfw import lfw_folder, needs_lfw_files
from tests.unit.evaluation.lfw_samples import LfwLike, lfw_like

ALL = 10**9


def view2(data: LfwLike, **options: Any) -> View2:  # noqa: ANN401
    folds = OfficialFolds(data.pairs, options.pop("people", data.people))
    seed, trained = options.pop("seed", 0), options.pop("trained_labels", None)
    config = EvaluationConfig(fars=(0.01, 0.1), max_pairs=ALL).model_copy(update=options)
    return score_view2(data.embeddings, data.labels, folds, config, seed, trained)


def view1(data: LfwLike, **options: Any) -> View1:  # noqa: ANN401
    """Trained on the pairs of the folds but the last, tested on those."""
    train, test = (in_one_fold(data.pairs, np.equal(data.pairs.fold_P == 4, is_last)) for is_last in (False, True))
    return score_view1(data.embeddings, data.labels, train, test, **options)


def chosen(pairs: ListedPairs, rows: npt.NDArray[Any]) -> ListedPairs:
    return ListedPairs(pairs.ids_P2[rows], pairs.is_same_P[rows], pairs.fold_P[rows])


def in_one_fold(pairs: ListedPairs, rows: npt.NDArray[np.bool_]) -> ListedPairs:
    return dataclasses.replace(chosen(pairs, rows), fold_P=np.zeros(rows.sum(), dtype=np.int64))


def float32_distances(data: LfwLike, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    difference = data.embeddings[ids[:, 0]] - data.embeddings[ids[:, 1]]
    distances: npt.NDArray[np.float32] = np.einsum("pd,pd->p", difference, difference)
    return distances


def sklearn_threshold(is_same: npt.NDArray[np.bool_], distances: npt.NDArray[np.float32]) -> float:
    """Midway from the distance at which scikit-learn's ROC is best, the first of equals, to the next larger one."""
    far, val, thresholds = roc_curve(is_same, -distances, drop_intermediate=False)
    best = -thresholds[np.round(val - far, 12).argmax()]
    return float((best + distances[distances > best].min().astype(np.float64)) / 2)


def sklearn_restricted(data: LfwLike) -> list[float]:
    """The accuracy of each fold, by scikit-learn."""
    distances, is_same = float32_distances(data, data.pairs.ids_P2), data.pairs.is_same_P
    accuracies = []
    for others, fold in LeaveOneGroupOut().split(distances, groups=data.pairs.fold_P):
        threshold = sklearn_threshold(is_same[others], distances[others])
        accuracies.append(accuracy_score(is_same[fold], distances[fold] <= threshold))
    return accuracies


@pytest.mark.parametrize("seed", range(8))
def test_restricted_folds_are_scored_as_by_scikit_learn(seed: int) -> None:
    data = lfw_like(seed=seed)
    result = view2(data)
    accuracies = sklearn_restricted(data)
    assert [fold.accuracy for fold in result.restricted.folds] == pytest.approx(accuracies, abs=1e-12)
    assert result.restricted.accuracy == pytest.approx(np.mean(accuracies))
    assert result.restricted.standard_error == pytest.approx(np.std(accuracies, ddof=1) / np.sqrt(5))
    distances = float32_distances(data, data.pairs.ids_P2)
    assert result.metrics()["lfw_roc_auc"] == pytest.approx(roc_auc_score(data.pairs.is_same_P, -distances))


@pytest.mark.parametrize("seed", range(4))
def test_unrestricted_thresholds_come_from_all_pairs_of_the_other_folds_people(seed: int) -> None:
    data = lfw_like(num_folds=3, seed=seed, pairs_of_a_kind=10)
    result = view2(data)
    assert result.unrestricted is not None
    for fold, score in enumerate(result.unrestricted.folds):
        examples = np.flatnonzero(data.labels // 6 != fold)
        ids = np.array(list(itertools.combinations(examples.tolist(), 2)))
        is_same = data.labels[ids[:, 0]] == data.labels[ids[:, 1]]
        assert score.threshold == pytest.approx(sklearn_threshold(is_same, float32_distances(data, ids)), rel=1e-6)
        tested = data.pairs.fold_P == fold
        accepted = float32_distances(data, data.pairs.ids_P2[tested]) <= score.threshold
        assert score.accuracy == pytest.approx(accuracy_score(data.pairs.is_same_P[tested], accepted))


def test_a_worked_example_of_two_folds() -> None:
    # On a circle, an angle apart from the first: squared distance 2 - 2 cos. Two people a fold, in two images each.
    angles = np.radians([0, 20, 90, 130, 180, 240, 300, 310])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    labels = np.repeat([0, 1, 2, 3], 2)
    pairs = ListedPairs(
        # Same 20 and 40 degrees apart, different 90 and 70; in the second fold same 60 and 10, different 120 and 70.
        ids_P2=np.array([[0, 1], [2, 3], [0, 2], [1, 2], [4, 5], [6, 7], [4, 6], [5, 7]]),
        is_same_P=np.array([True, True, False, False] * 2),
        fold_P=np.repeat([0, 1], 4),
    )
    result = score_view2(embeddings, labels, OfficialFolds(pairs), EvaluationConfig(fars=(0.5,)), seed=0)
    first, second = result.restricted.folds

    def distance(degrees: float) -> float:
        return 2 - 2 * float(np.cos(np.radians(degrees)))

    # Fold 2 parts 10 and 60 from 70 and 120 degrees; that judges all of 20, 40 | 70, 90 rightly.
    assert first.threshold == pytest.approx((distance(60) + distance(70)) / 2)
    assert first.accuracy == 1.0
    # Fold 1 parts 20 and 40 from 70 and 90; of 10, 60 | 70, 120 the middle between 40 and 70 takes 60 for different.
    assert second.threshold == pytest.approx((distance(40) + distance(70)) / 2)
    assert second.accuracy == 0.75
    assert result.restricted.accuracy == 0.875
    assert result.restricted.standard_error == pytest.approx(0.125)
    # Half of the different pairs may pass: in fold 2 all below 120 degrees, which accepts all of fold 1.
    assert (first.points[0].val, first.points[0].actual_far) == (1.0, 1.0)
    # In fold 1 all below 90 degrees, which accepts 10, 60 and 70 of fold 2.
    assert (second.points[0].val, second.points[0].actual_far) == (1.0, 0.5)
    assert (first.is_resolved, result.unrestricted) == ((True,), None)


def test_the_order_of_the_pairs_does_not_matter() -> None:
    data = lfw_like()
    order = np.random.default_rng(1).permutation(len(data.pairs.ids_P2))
    shuffled = dataclasses.replace(data, pairs=chosen(data.pairs, order))
    assert view2(data).to_dict() == view2(shuffled).to_dict()


def test_a_fold_has_no_say_in_its_own_threshold() -> None:
    data = lfw_like()
    moved = data.embeddings.copy()
    in_fold = data.labels // 6 == 2
    moved[in_fold] = moved[in_fold][::-1]
    before, after = view2(data), view2(dataclasses.replace(data, embeddings=moved))
    for setting in ("restricted", "unrestricted"):
        old, new = getattr(before, setting).folds, getattr(after, setting).folds
        assert old[2].threshold == new[2].threshold
        assert old[2].accuracy != new[2].accuracy


def test_a_perfect_model_scores_one_and_a_collapsed_one_half() -> None:
    data = lfw_like(noise=0.0)
    metrics = view2(data).metrics()
    assert metrics["lfw_accuracy_restricted"] == metrics["lfw_accuracy_unrestricted"] == metrics["lfw_roc_auc"] == 1.0
    assert metrics["lfw_eer"] == 0.0
    collapsed = view2(dataclasses.replace(data, embeddings=np.ones_like(data.embeddings))).metrics()
    assert collapsed["lfw_accuracy_restricted"] == collapsed["lfw_roc_auc"] == collapsed["lfw_eer"] == 0.5


def test_the_sample_of_formed_pairs_depends_on_the_seed_alone() -> None:
    data = lfw_like()
    first, again, other = (view2(data, max_pairs=200, seed=seed).to_dict() for seed in (1, 1, 2))
    assert first == again
    assert first["settings"]["restricted"] == other["settings"]["restricted"]
    assert first["settings"]["unrestricted"] != other["settings"]["unrestricted"]


def test_only_clean_folds_are_scored_and_they_choose_each_others_thresholds() -> None:
    data = lfw_like()
    embeddings = data.embeddings.copy()
    embeddings[data.labels < 18] = embeddings[0]  # people of folds 1 to 3 lie together, as those seen in training
    trained = dataclasses.replace(data, embeddings=embeddings)
    result = view2(trained, trained_labels=[0, 7, 12])
    assert (result.scored_folds, result.left_out_folds, result.num_trained_folds) == ((3, 4), (0, 1, 2), 0)
    assert [fold.chosen_on for fold in result.restricted.folds] == [(4,), (3,)]
    clean = chosen(data.pairs, data.pairs.fold_P >= 3)
    alone = dataclasses.replace(data, pairs=dataclasses.replace(clean, fold_P=clean.fold_P - 3), people=data.people[3:])
    assert result.metrics() == view2(alone).metrics()


def test_a_single_clean_fold_is_judged_by_the_thresholds_of_all_others() -> None:
    data = lfw_like()
    official = view2(data)
    result = view2(data, trained_labels=np.arange(24))
    assert result.unrestricted is not None and official.unrestricted is not None
    assert result.restricted.folds == official.restricted.folds[4:]
    assert result.unrestricted.folds == official.unrestricted.folds[4:]
    assert result.restricted.standard_error is None


def test_one_trained_person_without_any_pair_spoils_a_fold_whose_people_are_known() -> None:
    data = lfw_like()
    single = data.people[1][0]  # has one image
    in_pairs = np.isin(data.labels[data.pairs.ids_P2], single).any(axis=1)
    data = dataclasses.replace(data, pairs=chosen(data.pairs, np.flatnonzero(~in_pairs)))
    assert view2(data, trained_labels=[single]).left_out_folds == (1,)
    assert view2(data, trained_labels=[single], people=None).left_out_folds == ()


def test_a_model_trained_on_all_folds_is_refused_unless_that_is_allowed() -> None:
    data = lfw_like()
    seen = np.arange(0, 30, 6)  # one of each fold
    with pytest.raises(InputError, match=r"trained on people of each of the 5 LFW folds.*allow_trained_labels"):
        view2(data, trained_labels=seen)
    official, allowed = view2(data), view2(data, trained_labels=seen, allow_trained_labels=True)
    assert allowed.metrics() == official.metrics()
    assert (allowed.num_trained_folds, allowed.left_out_folds) == (5, ())
    assert allowed.to_dict()["num_trained_folds"] == 5


def test_permission_leaves_trained_folds_out_where_there_are_clean_ones() -> None:
    data = lfw_like()
    careful = view2(data, trained_labels=[0]).to_dict()
    assert view2(data, trained_labels=[0], allow_trained_labels=True).to_dict() == careful


def test_no_trained_labels_are_as_good_as_none() -> None:
    data = lfw_like()
    assert view2(data, trained_labels=[]).to_dict() == view2(data).to_dict()


def test_the_document_is_json_with_folds_from_one() -> None:
    result = view2(lfw_like(), trained_labels=[0])
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert result.metrics().items() <= document.items()
    assert set(result.metrics()) == {
        *("lfw_accuracy_restricted", "lfw_accuracy_unrestricted", "lfw_roc_auc", "lfw_eer"),
        *("lfw_val_at_far_1e-02_restricted", "lfw_val_at_far_1e-01_restricted"),
        *("lfw_val_at_far_1e-02_unrestricted", "lfw_val_at_far_1e-01_unrestricted"),
    }
    assert (document["scored_folds"], document["left_out_folds"]) == ([2, 3, 4, 5], [1])
    assert document["settings"]["restricted"]["folds"][0]["chosen_on"] == [3, 4, 5]
    assert document["num_same_pairs"] == document["num_different_pairs"] == 80


def broken(data: LfwLike, fault: str) -> LfwLike:
    pairs, people, embeddings = data.pairs, data.people, data.embeddings
    if fault == "stranger":
        people = [people[0][:5], *people[1:]]
    elif fault == "shared":
        people = [*people[:4], np.append(people[4], 0)]
    elif fault == "sets":
        people = people[:4]
    elif fault == "contradiction":
        pairs = ListedPairs(pairs.ids_P2, np.append(~pairs.is_same_P[:1], pairs.is_same_P[1:]), pairs.fold_P)
    elif fault == "kind":
        pairs = chosen(pairs, pairs.is_same_P | (pairs.fold_P != 1))
    elif fault == "empty":
        pairs = chosen(pairs, pairs.fold_P != 3)
    elif fault == "one fold":
        pairs = chosen(pairs, pairs.fold_P == 0)
    else:
        embeddings = np.full_like(embeddings, np.nan)
    return LfwLike(embeddings, data.labels, pairs, people)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("stranger", "pairs of LFW fold 1 show 1 people who are not in its set"),
        ("shared", "two LFW folds share people"),
        ("sets", "pairs have 5 folds, but its people 4 sets"),
        ("contradiction", "1 of the 200 listed LFW pairs"),
        ("kind", "LFW fold 2 lists 20 same and 0 different pairs"),
        ("empty", "LFW fold 4 lists 0 same and 0 different pairs"),
        ("one fold", "two folds or more"),
        ("nan", "105 of 105 embeddings hold NaN"),
    ],
)
def test_data_that_break_the_rules_are_refused(fault: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        view2(broken(lfw_like(), fault))


def test_view_1_judges_the_test_pairs_by_the_training_pairs_threshold() -> None:
    data = lfw_like()
    distances, is_same = float32_distances(data, data.pairs.ids_P2), data.pairs.is_same_P
    test = data.pairs.fold_P == 4
    threshold = sklearn_threshold(is_same[~test], distances[~test])
    result = view1(data)
    assert result.threshold == pytest.approx(threshold, rel=1e-6)
    assert result.accuracy == pytest.approx(accuracy_score(is_same[test], distances[test] <= threshold))
    assert result.metrics()["lfw_view1_roc_auc"] == pytest.approx(roc_auc_score(is_same[test], -distances[test]))
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["num_same_pairs"] == 20


def test_view_1_may_have_trained_on_its_training_people_alone() -> None:
    data = lfw_like()
    assert view1(data, trained_labels=np.arange(24)).num_trained_labels == 0
    with pytest.raises(InputError, match=r"trained on 2 of the \d people in LFW View 1's test pairs"):
        view1(data, trained_labels=[0, 27, 28])
    allowed = view1(data, trained_labels=[0, 27, 28], allow_trained_labels=True)
    assert (allowed.num_trained_labels, allowed.accuracy) == (2, view1(data).accuracy)


def test_view_1_sets_that_share_people_are_refused() -> None:
    data = lfw_like()
    pairs = in_one_fold(data.pairs, data.pairs.fold_P == 4)
    with pytest.raises(InputError, match=r"training and test pairs share \d people"):
        score_view1(data.embeddings, data.labels, pairs, pairs)


@needs_lfw_files
def test_the_official_folds_are_scored_as_by_scikit_learn() -> None:
    people = read_people(lfw_folder() / "people.txt")
    counts = {person.name: person.num_images for members in people.sets for person in members}
    names = sorted(counts)
    labels = np.repeat(np.arange(len(names)), [counts[name] for name in names])
    paths = [f"{name}/{name}_{n:04d}.jpg" for name in names for n in range(1, counts[name] + 1)]
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(names), 16))[labels] + 1.2 * rng.normal(size=(len(labels), 16))
    data = LfwLike(
        embeddings=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        labels=labels,
        pairs=ListedPairs(*find_pairs(read_pairs(lfw_folder() / "pairs.txt"), paths)),
        people=list(find_people(people, names, labels)),
    )
    result = view2(data, max_pairs=20_000, fars=(1e-3,))
    assert result.unrestricted is not None
    assert [fold.accuracy for fold in result.restricted.folds] == pytest.approx(sklearn_restricted(data), abs=1e-12)
    assert result.unrestricted.accuracy == pytest.approx(result.restricted.accuracy, abs=0.02)
    assert result.restricted.rates[0].is_resolved == (True,) * 10
    assert result.to_dict()["num_same_pairs"] == result.to_dict()["num_different_pairs"] == 3000
