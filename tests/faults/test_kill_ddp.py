"""kill -9 of one of two train workers, just before its first step and in a step."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.faults.kills import Outcome, datasets, numbers_of
from tests.faults.runs import ended, start
from tests.support.jobs import TINY, rounds, succeed

DDP = (*TINY, "--training.source=online", *rounds(120, 40), "--training.num_workers=2")


@pytest.fixture(scope="module")
def workspace(warm_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which nobody disturbed the run ``whole``."""
    place = tmp_path_factory.mktemp("workspace")
    succeed("prepare", *TINY, "--workspace", place)
    succeed("train", *DDP, "--workspace", place, "--run=whole")
    return place


def kill_second_worker(job: "subprocess.Popen[str]", is_due: Callable[[list[str]], bool]) -> psutil.Process:
    """Kills the second worker of a training run when that is due by what the workers say that they do."""
    workers: dict[psutil.Process, str] = {}
    while job.poll() is None and not (len(workers) == 2 and is_due(list(workers.values()))):
        time.sleep(0.01)
        workers = train_workers(job.pid)
    assert len(workers) == 2, "there is somebody to kill"
    victim = sorted(workers, key=lambda process: process.pid)[1]
    victim.kill()
    print(f"killed {workers[victim]}")
    return victim


def train_workers(job: int) -> dict[psutil.Process, str]:
    """Ray Train's workers of a job, and what they are at."""
    found = {}
    for process in psutil.Process(job).children(recursive=True):
        try:
            found[process] = " ".join(process.cmdline()).strip()
        except psutil.NoSuchProcess:
            continue
    return {process: name for process, name in found.items() if "TrainWorker" in name}


def test_a_ddp_worker_killed_before_its_first_step_or_in_a_step_costs_the_steps_since_the_last_checkpoint(
    workspace: Path,
) -> None:
    """Ray Train gets over a death while workers start, and while they train, but takes one in between for its own."""
    _, trained, _ = datasets(workspace, "killed")
    job = start("train", *DDP, "--workspace", workspace, "--run=killed", environ={})
    early = kill_second_worker(job, lambda names: all("run_train_fn" in name for name in names))
    assert not trained.numbers()[1:], "nothing was trained yet"
    late = kill_second_worker(job, lambda _: trained.numbers()[-1:] == [40])
    print(f"the second one beside {numbers_of(workspace, 'killed')}")
    code, words = ended(job)
    assert code == 0, words
    assert early != late
    assert trained.numbers() == [0, 40, 80, 120]
    assert Outcome.of(workspace, "killed") == Outcome.of(workspace, "whole")
