"""Jobs that overlap: a scheduler starts a refresh while the last one runs, somebody starts a second trainer."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.encoders.checkpoints import checkpoints
from pipeline.storage.leases import list_leases
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.faults.runs import ended, start
from tests.support.jobs import TINY, rounds, run, succeed


def start_tiny(name: str, *arguments: str) -> "subprocess.Popen[str]":
    return start(name, *TINY, *arguments, environ={})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    succeed("prepare", *TINY, "--workspace", tmp_path)
    return Workspace.open(str(tmp_path), "main")


def wait_for_lease(workspace: Workspace, purpose: str, job: "subprocess.Popen[str]") -> None:
    """Waits until a job has the lease on its work; one that pins what it reads comes before."""
    while not any(lease.record.purpose.startswith(purpose) for lease in list_leases(workspace.store)):
        assert job.poll() is None
        time.sleep(0.05)


def test_of_two_overlapping_refreshes_one_publishes_and_the_other_says_so(workspace: Workspace) -> None:
    jobs = [start_tiny("mine", "--workspace", workspace.store.uri)]
    wait_for_lease(workspace, "refresh of", jobs[0])
    jobs[0].send_signal(signal.SIGSTOP)  # so that the second one surely begins while it is at it
    jobs.append(start_tiny("mine", "--workspace", workspace.store.uri))
    assert jobs[1].stderr is not None
    heard = jobs[1].stderr.readline()
    jobs[0].send_signal(signal.SIGCONT)
    first, second = (ended(job)[1] for job in jobs)
    second = heard + second
    print("two refreshes at once:", first, second, sep="\n")
    assert [job.returncode for job in jobs] == [0, 0], (first, second)
    assert generations(workspace).numbers() == [0]
    assert "generation 0: " in first and "published in" in first
    assert "another job does this work: refresh of run 'main' from checkpoint 0 (host " in second
    assert "generation 0: " in second and "nothing to do" in second and "mine step" not in second
    parts = workspace.store.list(f"{workspace.generations_prefix}/data")
    assert {part.key for part in generations(workspace).read(0).parts} == set(parts), "nobody wrote in vain"
    assert list_leases(workspace.store) == []


def test_of_two_trainers_of_one_run_the_second_is_told_who_the_first_is(workspace: Workspace, warm_ray: None) -> None:
    flags = ("--workspace", workspace.store.uri, "--training.source=random")
    long = rounds(20000, 20000)
    first = start_tiny("train", *flags, *long)
    try:
        wait_for_lease(workspace, "training of", first)
        second = run("train", *TINY, *flags, *long)
    finally:
        first.kill()
        first.communicate()
    print("two trainers at once:", second.words)
    assert second.code == 2
    holder = f"training of run 'main' (host {socket.gethostname()}, process {first.pid})"
    assert f"is being trained by another job: {holder}" in second.words and "--run" in second.words
    done = succeed("train", *TINY, *flags)
    assert "is locked by another trainer" not in done.words, "the first one is known to be dead at once"
    assert checkpoints(workspace).numbers() == [0, 2, 4, 6]
