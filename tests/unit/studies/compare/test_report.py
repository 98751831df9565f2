import json
from itertools import dropwhile, takewhile

import pytest

from pipeline.errors import InputError
from pipeline.studies.compare.report import render_markdown, to_document
from pipeline.studies.compare.results import ArmResult, CurvePoint
from pipeline.studies.compare.summary import compare
from tests.unit.studies.compare.samples import learned, result


def rows(markdown: str, heading: str) -> dict[str, list[str]]:
    """The cells of the first table after a heading, by the first of each row."""
    lines = dropwhile(lambda line: not line.startswith("|"), markdown.split(heading, 1)[1].splitlines())
    table = takewhile(lambda line: line.startswith("|"), lines)
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    return {first: rest for first, *rest in cells}


def test_the_report_of_two_arms_reads_so() -> None:
    results = [
        result("random", 0, [0.0, 0.2, 0.4], active_share=0.25),
        result("random", 1, [0.0, 0.3, 0.6]),
        result("mined", 0, [0.0, 0.4, 0.5], refresh_s=1.0),
        result("mined", 1, [0.0, 0.6, 0.7], refresh_s=1.0),
    ]
    lines = render_markdown(compare(results, "random", arms=["random", "mined"])).splitlines()
    assert lines[0] == "# 2 ways of choosing triplets"
    assert lines[2].startswith("The baseline is `random`; the budget is 200 images forwarded in each seed of each arm.")
    assert lines[4] == "In recall@1, against `random`: **better**: `mined`."
    # By hand: s of (0.4, 0.6) is 0.141421, so half the interval is 12.7062 × 0.141421 / √2 = 1.2706.
    assert lines[6:] == [
        "| arm | seeds | recall@1 | recall@1 gain | images to it | wall to it | wall s | refresh |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| `random` (baseline) | 2 | 0.5000 ± 1.2706 | – | 100% ± 0% | 100% ± 0% | 2 ± 0 | 0% |",
        "| **`mined`** | 2 | **0.6000 ± 1.2706** | +0.1000 ± 0.0000 | 50% ± 0% | 100% ± 0% | 4 ± 0 | 50% |",
        "",
        "## Difference to `random`",
        "",
        "Means of the differences within a seed, which has the same initial weights and the same split for every arm. "
        "*better*, *worse*: the 95 % interval excludes 0, each interval for itself. †: the two arms' own intervals "
        "are disjoint as well.",
        "",
        "| arm | recall@1 |",
        "| --- | ---: |",
        "| `mined` | +0.1000 ± 0.0000 better |",
        "",
        "## Means over the training",
        "",
        "| arm | active share |",
        "| --- | ---: |",
        "| `random` | 0.25 |",
        "| `mined` | – |",
    ]


def test_one_seed_shows_a_dash_and_never_a_zero() -> None:
    markdown = render_markdown(compare(learned(["random", "mined"], [0]), "random"))
    cells = rows(markdown, "# 2 ways")["**`mined`**"]
    assert cells[1].endswith(" ± –**")
    assert cells[3].endswith(" ± –")
    assert "± 0" not in markdown
    assert rows(markdown, "## Difference")["`mined`"][0].endswith("± – undecided")


def test_disjoint_intervals_are_marked() -> None:
    markdown = render_markdown(compare(learned(["random", "mined"], range(3), gain=0.1), "random"))
    assert all(cell.endswith("better†") for cell in rows(markdown, "## Difference")["`mined`"])


def test_every_metric_has_a_column_the_main_one_first() -> None:
    comparison = compare(learned(["random", "mined"], range(3)), "random")
    assert rows(render_markdown(comparison), "# 2")["arm"][:4] == ["seeds", "recall@1", "ROC AUC", "recall@1 gain"]


def test_a_baseline_that_nobody_or_not_everybody_reached_is_said_in_words() -> None:
    results = [
        *(result("random", seed, [0.0, 0.2, 0.4]) for seed in (0, 1)),
        result("some", 0, [0.0, 0.4, 0.5]),
        result("some", 1, [0.0, 0.1, 0.2]),
        *(result("none", seed, [0.0, 0.1, 0.2]) for seed in (0, 1)),
    ]
    table = rows(render_markdown(compare(results, "random")), "# 3")
    assert table["`some`"][3:5] == ["> 75% (1 of 2 seeds)"] * 2
    assert table["`none`"][3:5] == ["not reached"] * 2


def test_an_arm_that_used_up_another_budget_is_listed() -> None:
    results = [result("random", 0, [0.0, 0.2, 0.4]), result("short", 0, [0.0, 0.4]), result("equal", 0, [0, 0, 0.1])]
    markdown = render_markdown(compare(results, "random"))
    assert markdown.split("## Not equal\n\n")[1] == "- Another budget: `short` forwarded 100 images.\n"


def test_equal_budgets_leave_nothing_to_list() -> None:
    assert "Not equal" not in render_markdown(compare(learned(["random", "mined"], range(2)), "random"))


def test_a_bar_in_a_name_does_not_end_the_cell() -> None:
    assert "| **`a\\|b`** (baseline) |" in render_markdown(compare([result("a|b", 0, [0.1])], "a|b"))


def test_results_without_the_main_metric_are_refused_with_those_there_are() -> None:
    point = CurvePoint(step=0, images=0, metrics={"roc_auc": 0.5}, train_s=0, refresh_s=0)
    comparison = compare([ArmResult(arm="random", seed=0, digest="d", curve=(point,), facts={})], "random")
    with pytest.raises(InputError, match="no metric recall_at_1: choose one of roc_auc"):
        render_markdown(comparison)


def test_the_document_is_json_and_says_the_same() -> None:
    comparison = compare(learned(["random", "mined"], [0]), "random", ["random", "mined"])
    document = to_document(comparison)
    read = json.loads(json.dumps(document, allow_nan=False))
    assert (read["baseline"], read["budget"], read["best"]["recall_at_1"]) == ("random", 8_000, "mined")
    mined = read["arms"][1]["metrics"]["recall_at_1"]
    assert mined["final"] == {
        "mean": comparison.arms[1].metrics["recall_at_1"].final.mean,
        "half_width": None,
        "num": 1,
    }
    assert mined["difference"]["verdict"] == "undecided"
    assert set(mined["images"]) == {"share", "num_reached"}
