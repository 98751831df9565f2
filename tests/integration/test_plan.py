"""A plan beside a refresh, on this machine."""

from pathlib import Path

import pytest

from jobs.planning import read_rates
from tests.support.jobs import succeed

Place = tuple[str | Path, ...]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A workspace with two thousand images."""
    folder = tmp_path_factory.mktemp("plan") / "w"
    place = (
        "--workspace",
        folder,
        "--corpus.source.glyphs.max_labels=200",
        "--mining.positives.max_per_anchor=4",
        "--cluster.anchors_per_block=1024",
        "--training.batch.num_labels=8",
    )
    succeed("prepare", *place)
    return place


def files(place: Place) -> set[str]:
    folder = Path(place[1])
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_plan_is_of_the_size_of_the_refresh_that_follows_and_leaves_nothing_but_embeddings(place: Place) -> None:
    before = files(place)
    stages = {row["stage"]: row for row in succeed("plan", *place, "--check").report["stages"]}
    assert {"audit", "mine", "the rest"} <= set(stages)
    assert {name.partition("/")[0] for name in files(place) - before} == {"embeddings"}
    ratio = stages["in all"]["planned_s"] / stages["in all"]["measured_s"]
    assert 0.1 < ratio < 10.0, "what others do on this machine may triple a time; a wrong count is off by more"


def test_a_dry_run_measures_and_leaves_nothing_behind(place: Place, tmp_path: Path) -> None:
    before, file = files(place), tmp_path / "rates.json"
    report = succeed("plan", *place, "--measure", file).report
    rates = read_rates(file)
    assert rates.train_s_per_step and rates.embed.encode_s_per_example > 0.0 and rates.actors_at_once == 2
    assert 0.0 < rates.answered_share <= 1.0 and 5.0 < rates.bytes_per_triplet < 40.0
    assert report["plans"][0]["train_s"] > 0.0 and report["plans"][0]["work"]["num_examples"] > 1500
    assert files(place) == before
