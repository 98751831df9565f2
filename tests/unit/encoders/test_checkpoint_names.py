from pathlib import Path

import pytest

from pipeline.encoders.checkpoint_names import find_checkpoint, find_checkpoints, find_step
from pipeline.errors import InputError
from pipeline.storage.workspace import Workspace
from tests.unit.encoders.samples import checkpoint


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Run "main" with the steps 0, 5 and 10; run "7" with step 3."""
    workspace = Workspace.open(str(tmp_path), "main")
    for run, step in (("main", 0), ("main", 5), ("main", 10), ("7", 3)):
        checkpoint(Workspace(workspace.store, run), step)
    return workspace


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", [("main", 5)]),
        ("latest", [("main", 10)]),
        ("all", [("main", 0), ("main", 5), ("main", 10)]),
        ("main", [("main", 10)]),
        ("main:0", [("main", 0)]),
        ("main:all", [("main", 0), ("main", 5), ("main", 10)]),
        ("7:latest", [("7", 3)]),
        ("7:3", [("7", 3)]),
    ],
)
def test_a_name_means_these_checkpoints(workspace: Workspace, text: str, expected: list[tuple[str, int]]) -> None:
    assert find_checkpoints(text, workspace, "--checkpoint") == expected


def test_a_run_without_checkpoints_is_named(workspace: Workspace) -> None:
    with pytest.raises(
        InputError, match=r"--checkpoint 'other:3': run 'other' has no checkpoint in .*; train it first"
    ):
        find_checkpoints("other:3", workspace, "--checkpoint")


@pytest.mark.parametrize("text", ["7", "main:newest", "main:-5"])
def test_a_step_that_is_not_there_is_answered_with_those_that_are(workspace: Workspace, text: str) -> None:
    with pytest.raises(InputError, match=r"choose one of \[0, 5, 10\]"):
        find_checkpoints(text, workspace, "--checkpoint")


def test_a_setting_names_one_checkpoint(workspace: Workspace) -> None:
    steps = [find_checkpoint(name, workspace, "evaluation.against")[1].step for name in ("main", "main:5", "7")]
    assert steps == [10, 5, 3] and find_step("latest", workspace, "--against 'latest'") == 10
    with pytest.raises(
        InputError, match=r"^evaluation\.against 'main:latest' is no checkpoint of this workspace: name RUN:STEP"
    ):
        find_checkpoint("main:latest", workspace, "evaluation.against")
