from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import EvaluationConfig
from pipeline.errors import InputError
from pipeline.evaluation.lfw.scores import View2, combine_folds
from pipeline.evaluation.lfw.view2 import OfficialFolds, score_view2
from tests.unit.evaluation.lfw_samples import LfwLike, lfw_like


def score(data: LfwLike, trained: list[int], fars: tuple[float, ...] = (0.1,), with_people: bool = True) -> View2:
    """The score of a model that was trained on the people of some folds."""
    seen = np.concatenate([data.people[fold] for fold in trained]) if trained else None
    folds = OfficialFolds(data.pairs, data.people if with_people else None)
    return score_view2(data.embeddings, data.labels, folds, EvaluationConfig(fars=fars), seed=0, trained_labels=seen)


def all_but(*folds: int) -> list[int]:
    return [fold for fold in range(5) if fold not in folds]


def test_one_model_for_each_fold_gives_the_official_figures() -> None:
    data = lfw_like()
    official = score(data, trained=[])
    combined = combine_folds([score(data, trained=all_but(fold)) for fold in (3, 0, 4, 2, 1)])
    assert (combined.restricted, combined.unrestricted) == (official.restricted, official.unrestricted)
    assert combined.restricted.standard_error == official.restricted.standard_error is not None
    document = combined.to_dict()
    assert (document["num_models"], document["scored_folds"], document["left_out_folds"]) == (5, [1, 2, 3, 4, 5], [])
    assert (document["num_same_pairs"], document["num_trained_folds"]) == (100, 0)


def test_distances_of_different_models_are_never_pooled() -> None:
    data = lfw_like()
    # Models of other scales: pooled, the near pairs of the one would count before all pairs of the other.
    results = []
    for fold in range(5):
        scaled = replace(data, embeddings=data.embeddings * np.float32(10.0**-fold))
        results.append(score(scaled, trained=all_but(fold)))
    combined, official = combine_folds(results).metrics(), score(data, trained=[])
    aucs = [score(data, trained=all_but(fold)).metrics()["lfw_roc_auc"] for fold in range(5)]
    assert combined["lfw_roc_auc"] == pytest.approx(np.mean(aucs))
    assert combined["lfw_accuracy_restricted"] == pytest.approx(official.restricted.accuracy)


def test_models_may_score_several_folds_each() -> None:
    data = lfw_like()
    pair, three = score(data, trained=[2, 3, 4]), score(data, trained=[0, 1])
    combined = combine_folds([three, pair])
    assert combined.restricted.folds == pair.restricted.folds + three.restricted.folds
    weighted = 0.4 * pair.metrics()["lfw_eer"] + 0.6 * three.metrics()["lfw_eer"]
    assert combined.metrics()["lfw_eer"] == pytest.approx(weighted)


def test_a_combination_can_be_combined_again() -> None:
    data = lfw_like()
    first, second, rest = score(data, all_but(0)), score(data, all_but(1)), score(data, trained=[0, 1])
    assert (
        combine_folds([combine_folds([first, second, rest])]).to_dict()
        == combine_folds([first, second, rest]).to_dict()
    )


def test_each_fold_must_be_scored_once() -> None:
    data = lfw_like()
    first, second, rest = score(data, all_but(0)), score(data, all_but(1)), score(data, trained=[0, 1])
    with pytest.raises(InputError, match="once, but score fold 2 0 times:"):
        combine_folds([first, rest])
    with pytest.raises(InputError, match="once, but score fold 1 2 times, fold 2 2 times:"):
        combine_folds([first, second, rest, score(data, trained=[2, 3, 4])])


def test_results_that_cannot_be_averaged_are_refused() -> None:
    data = lfw_like()
    first, rest = score(data, all_but(0)), score(data, trained=[0])
    combine_folds([first, rest])
    with pytest.raises(InputError, match="no LFW result"):
        combine_folds([])
    for other in (score(data, [0], fars=(0.2,)), score(data, [0], with_people=False), replace(rest, num_folds=6)):
        with pytest.raises(InputError, match="differ in their number of folds, their settings or their false accept"):
            combine_folds([first, other])
    with pytest.raises(InputError, match="scored LFW folds with people that it was trained on"):
        combine_folds([first, replace(rest, num_trained_folds=4)])
