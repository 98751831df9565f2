import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.studies.compare.results import ArmResult, CurvePoint
from pipeline.studies.compare.statistics import estimate
from pipeline.studies.compare.summary import compare
from tests.unit.studies.compare.samples import learned, result

CURVES = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=4)
RESULTS = st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), CURVES, min_size=1, max_size=12).map(
    lambda curves: [result(arm, seed, values) for (arm, seed), values in curves.items()]
)


@given(RESULTS, st.randoms(use_true_random=False))
def test_the_order_of_the_results_changes_nothing(results: list[ArmResult], shuffler: random.Random) -> None:
    shuffled = shuffler.sample(results, len(results))
    baseline = min(each.arm for each in results)
    assert compare(shuffled, baseline) == compare(results, baseline)


def test_an_arm_is_its_final_values_over_its_seeds() -> None:
    results = [
        result("random", 0, [0.1, 0.5], active_share=0.2),
        result("random", 1, [0.1, 0.7], refresh_s=1.0, active_share=0.4, staleness=10.0),
    ]
    (summary,) = compare(results, "random").arms
    assert summary.seeds == (0, 1)
    assert summary.metrics["recall_at_1"].final == estimate([0.5, 0.7])
    assert summary.wall_s == estimate([1.0, 2.0])
    assert summary.refresh_share == estimate([0.0, 0.5])
    assert summary.facts == {"active_share": estimate([0.2, 0.4]), "staleness": estimate([10.0])}


def test_every_arm_but_the_baseline_has_a_difference() -> None:
    comparison = compare(learned(["random", "mined"], range(3)), "random")
    mined, baseline = comparison.arms
    assert baseline.metrics["recall_at_1"].difference is None
    difference = mined.metrics["recall_at_1"].difference
    assert difference is not None
    assert difference.verdict == "better"
    assert comparison.best("recall_at_1") == "mined"


def test_arms_stand_in_the_order_asked_for_and_the_rest_in_that_of_the_alphabet() -> None:
    comparison = compare(learned("abcd", [0]), "a", arms=["c", "missing", "b"])
    assert [summary.arm for summary in comparison.arms] == ["c", "b", "a", "d"]


def test_the_budget_is_the_baselines() -> None:
    results = [result("random", 0, [0.1, 0.2, 0.3]), result("mined", 0, [0.1, 0.2]), result("mined", 1, [0.1])]
    comparison = compare(results, "random")
    assert comparison.budget == 200
    assert {summary.arm: summary.images for summary in comparison.arms} == {"random": (200, 200), "mined": (0, 100)}


def test_no_time_at_all_is_no_refresh_share() -> None:
    assert compare([result("random", 0, [0.1])], "random").arms[0].refresh_share.mean == 0.0


OTHER_METRICS = CurvePoint(step=0, images=0, metrics={"roc_auc": 0.5}, train_s=0, refresh_s=0)


@pytest.mark.parametrize(
    ("results", "baseline", "message"),
    [
        ([], "random", "there is no result"),
        ([result("random", 3, [0.1]), result("random", 3, [0.2])], "random", "two results of random, seed 3"),
        (learned(["random", "mined"], [0]), "randon", r"the baseline randon is not among the arms \(mined, random\)"),
        (
            [result("random", 0, [0.1]), ArmResult(arm="mined", seed=1, digest="d", curve=(OTHER_METRICS,), facts={})],
            "random",
            "evaluated by other metrics",
        ),
    ],
    ids=["nothing", "one arm and seed twice", "an unknown baseline", "other metrics"],
)
def test_results_that_cannot_be_compared_are_refused(results: list[ArmResult], baseline: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(results, baseline)
