"""kill -9 of one of two train workers."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.faults.kills import Outcome, numbers_of, publications
from tests.faults.runs import ended, start
from tests.support.jobs import TINY, succeed

pytestmark = pytest.mark.timeout(900)
DDP = (
    *TINY,
    "--training.source=online",
    "--training.num_steps=120",
    "--training.steps_per_round=40",
    "--training.num_workers=2",
    "--training.threads_per_worker=1",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which nobody disturbed the run ``whole``."""
    place = tmp_path_factory.mktemp("workspace")
    succeed("prepare", *TINY, "--workspace", place)
    succeed("train", *DDP, "--workspace", place, "--run=whole")
    return place


def kill_second_worker(workspace: Path, run: str, is_due: Callable[[list[str]], bool]) -> None:
    """Trains a run, kills its second worker when that is due by what the workers say that they do, and sees it end."""
    job = start("train", *DDP, "--workspace", workspace, f"--run={run}", environ={})
    workers: dict[psutil.Process, str] = {}
    while job.poll() is None and not is_due(list(workers.values())):
        time.sleep(0.01)
        workers = train_workers(job.pid)
    assert len(workers) == 2, "there is somebody to kill"
    victim = sorted(workers, key=lambda process: process.pid)[1]
    print(f"killed {workers[victim]} of run {run}: {numbers_of(workspace, run)}")
    victim.kill()
    code, words = ended(job, timeout_s=400)
    assert code == 0, words


def train_workers(job: int) -> dict[psutil.Process, str]:
    """Ray Train's workers of a job, and what they are at."""
    found = {}
    for process in psutil.Process(job).children(recursive=True):
        try:
            found[process] = " ".join(process.cmdline()).strip()
        except psutil.NoSuchProcess:
            continue
    return {process: name for process, name in found.items() if "TrainWorker" in name}


def test_a_killed_ddp_worker_costs_the_steps_since_the_last_checkpoint(workspace: Path) -> None:
    _, trained, _ = publications(workspace, "killed")
    kill_second_worker(workspace, "killed", lambda _: trained.numbers()[-1:] == [40])
    assert trained.numbers() == [0, 40, 80, 120]
    assert Outcome.of(workspace, "killed") == Outcome.of(workspace, "whole")


def test_a_ddp_worker_killed_just_before_it_begins_to_train_is_replaced(workspace: Path) -> None:
    """Ray Train gets over a death while workers start, and while they train, but takes one in between for its own."""
    kill_second_worker(
        workspace, "early", lambda names: len(names) == 2 and all("run_train_fn" in name for name in names)
    )
    assert Outcome.of(workspace, "early") == Outcome.of(workspace, "whole")
