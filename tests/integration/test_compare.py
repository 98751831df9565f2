import json
from pathlib import Path

import pytest

from tests.support.jobs import TINY, Finished, run, succeed

ARMS = ("in_batch", "global_semi_hard", "listed", "random")
FLAGS = ("--arms", *ARMS, "--seeds=2", "--images=144", "--points=2")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A workspace in which four arms were compared over two seeds."""
    workspace = tmp_path_factory.mktemp("compare")
    succeed("prepare", *TINY, "--workspace", workspace)
    return workspace, succeed("compare", *TINY, "--workspace", workspace, *FLAGS)


def test_every_arm_is_trained_with_every_seed_under_one_budget(compared: tuple[Path, Finished]) -> None:
    workspace, finished = compared
    results = [json.loads(path.read_text()) for path in workspace.glob("comparisons/main/results/*.json")]
    assert sorted((result["arm"], result["seed"]) for result in results) == sorted((a, s) for a in ARMS for s in (0, 1))
    for result in results:
        points = result["curve"]
        assert [point["step"] for point in points] == [0, 3, 6]
        assert points[-1]["images"] == 144 or (
            result["arm"] in ("listed", "random") and 120 < points[-1]["images"] <= 144
        )
        assert points[0]["images"] == 0 and {"recall_at_1", "val_at_far_1e-03"} <= points[0]["metrics"].keys()
        assert (points[-1]["refresh_s"] > 0) is (result["arm"] in ("global_semi_hard", "listed"))
    starts = {(result["seed"], result["curve"][0]["metrics"]["recall_at_1"]) for result in results}
    assert len(starts) == 2, "the arms of a seed start from the same weights"
    assert finished.report["baseline"] == "in_batch" and len(finished.report["arms"]) == 4


def test_the_report_is_a_table_and_a_picture(compared: tuple[Path, Finished]) -> None:
    folder = compared[0] / "comparisons" / "main"
    table = (folder / "report.md").read_text()
    assert all(f"`{arm}`" in table for arm in ARMS) and "recall@1" in table and "VAL at FAR 1e-3" in table
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_trains_only_what_has_no_result(compared: tuple[Path, Finished]) -> None:
    workspace, _ = compared
    results = workspace / "comparisons" / "main" / "results"
    before = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    gone = sorted(before)[0]
    kept = (results / gone).read_text()
    (results / gone).unlink()
    succeed("compare", *TINY, "--workspace", workspace, *FLAGS)
    after = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    assert after.keys() == before.keys() and {name for name in after if after[name] != before[name]} == {gone}
    again, first = (json.loads(text)["curve"][-1]["metrics"] for text in ((results / gone).read_text(), kept))
    assert again == first, "trained anew, an arm ends where it ended"


def test_gains_of_several_comparisons_are_drawn_side_by_side(compared: tuple[Path, Finished]) -> None:
    workspace, _ = compared
    few = ("--name=few", "--labels=10", "--arms", "in_batch", "global_semi_hard", *FLAGS[len(ARMS) + 1 :])
    succeed("compare", *TINY, "--workspace", workspace, *few)
    drawn = succeed("compare", *TINY, "--workspace", workspace, "--name=labels", "--beside", "few", "main")
    assert Path(drawn.report["picture"]).read_bytes().startswith(b"\x89PNG")
    missing = run("compare", *TINY, "--workspace", workspace, "--beside", "nothing")
    assert missing.code == 2 and "--name nothing first" in missing.words


def test_an_arm_that_fails_keeps_its_last_values_and_says_so(compared: tuple[Path, Finished]) -> None:
    hot = ("--name=hot", "--arms", "in_batch", "--seeds=1", "--images=144", "--training.optimiser.learning_rate=1e30")
    report = succeed("compare", *TINY, "--workspace", compared[0], *hot).report
    assert report["arms"][0]["facts"]["failed"]["mean"] == 1.0
