"""The planner's command line: what needs no Ray."""

import json
from pathlib import Path

import pytest

from tests.unit.jobs.test_cli import Ended, assert_refused, job
from tests.unit.planning.samples import CONFIG, rates


def plan(*arguments: str | Path) -> Ended:
    settings = ("--encoder.name=identity", "--encoder.embedding_dim=100", "--mining.positives.max_per_anchor=4")
    return job("plan", *settings, "--cluster.num_shards=2", *arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    assert CONFIG.cluster.num_shards == 2
    path = tmp_path / "rates.json"
    path.write_text(rates().model_dump_json())
    return path


def test_a_laptop_plans_for_a_cluster_from_a_file_of_rates(file: Path) -> None:
    cluster = ("--nodes", "4", "--cpus", "8", "--memory-gb", "64", "--price", "1.5", "--cluster.num_actors", "32")
    report = json.loads(plan("--rates", file, "--examples", "1e4", "1e6", *cluster, "--json").out)
    small, large = report["plans"]
    assert [one["work"]["num_examples"] for one in report["plans"]] == [10_000, 1_000_000]
    mined = [next(stage["seconds"] for stage in one["stages"] if stage["name"] == "mine") for one in (small, large)]
    assert mined == pytest.approx([1e8 * 1e-6 / 32, 1e12 * 1e-6 / 32])
    assert large["cost"] == pytest.approx(4 * 1.5 * large["seconds"] / 3600)
    assert large["needs"][0]["limit_bytes"] == 64e9

    table = plan("--rates", file, "--examples", "1e4", "1e6", *cluster).out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert rows[0][:1] == ["examples"] and rows[0][-1] == "cost"
    assert [row[0] for row in rows[2:]] == ["10,000", "1,000,000"] and rows[3][3] == "8.7 h"


def test_one_plan_is_shown_in_full_with_what_is_in_the_way(file: Path) -> None:
    shown = plan("--rates", file, "--memory-gb", "0.5").out
    for words in ("embed", "mine", "memory of a node", "do not fit into 500 MB", "store:"):
        assert words in shown, words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mining.negatives_per_pair", "3"), "mining.negatives_per_pair"),
        (("--examples", "0"), "0 is not positive"),
        (("--price", "-1"), "-1 is not positive"),
        (("--examples", "many"), "invalid"),
    ],
)
def test_what_cannot_be_planned_is_refused(file: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = plan("--rates", file, *arguments)
    assert ended.code == 2 and words in ended.words


def test_a_file_that_holds_no_rates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    for name, words in (("empty.json", "measured_with"), ("none.json", "cannot be read")):
        assert_refused(plan("--rates", tmp_path / name), words, name)
