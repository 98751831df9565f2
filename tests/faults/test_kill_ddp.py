"""kill -9 of one of two train workers."""

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.cluster.run_jobs import ROOT, TINY, command, environment, succeed
from tests.faults.kills import Outcome, publications

pytestmark = pytest.mark.timeout(900)


def test_a_killed_ddp_worker_costs_the_steps_since_the_last_checkpoint(tmp_path: Path) -> None:
    rounds = ("--training.num_steps=120", "--training.steps_per_round=40")
    workers_of_one_thread = ("--training.num_workers=2", "--training.threads_per_worker=1")
    flags = (*TINY, "--workspace", tmp_path, "--training.source=online", *rounds, *workers_of_one_thread)
    succeed("prepare", *TINY, "--workspace", tmp_path)
    succeed("train", *flags, "--run=whole")
    job = subprocess.Popen(
        command("train", *flags, "--run=killed"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, trained, _ = publications(tmp_path, "killed")
    while trained.numbers()[-1:] != [40] and job.poll() is None:
        time.sleep(0.02)
    workers = [process for process in psutil.Process(job.pid).children(recursive=True) if is_training(process)]
    assert len(workers) == 2
    print(f"killed a train worker after checkpoints {trained.numbers()}")
    workers[1].kill()
    _, words = job.communicate(timeout=240)
    assert job.returncode == 0, words.decode()
    assert trained.numbers() == [0, 40, 80, 120]
    assert Outcome.of(tmp_path, "killed") == Outcome.of(tmp_path, "whole")


def is_training(process: psutil.Process) -> bool:
    """Whether this is one of Ray Train's workers."""
    try:
        return "TrainWorker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
