"""What can never run, or stands still, is an error in time that says what is there; and leaves no process behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pipeline.encoders.checkpoints import checkpoints
from pipeline.failpoints import FOLDER_VARIABLE, VARIABLE, Failpoint
from pipeline.storage.workspace import Workspace
from tests.faults.job_server import JobServer
from tests.faults.runs import ended, start
from tests.support.jobs import ROOT, TINY, environment, rounds, succeed
from tests.support.raylets import Raylets, raylets, wait_until

SEED = 16
ARGUMENTS = (*TINY, f"--seed={SEED}", "--cluster.cpus_per_actor=1")
SHORT_S, MIDDLE_S, LONG_S = 5.0, 20.0, 40.0  # on an idle machine actors start in 3 s, and training workers in 10 s
OURS = ("ray::RefreshWorker", "ray::RayTrainWorker")
HOLD = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1)
class Holder:
    def hold(self): return True
holders = [Holder.remote() for _ in range(2)]
ray.get([holder.hold.remote() for holder in holders])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def arrivals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrivals")


@pytest.fixture(scope="module")
def cluster(arrivals: Path) -> Iterator[Raylets]:
    """A head without CPUs, and two nodes of one; the first actor that has searched a block hangs."""
    armed = {VARIABLE: f"{Failpoint.BLOCK_SEARCHED}=hang@1", FOLDER_VARIABLE: str(arrivals)}
    with raylets(0, 1, 1, environ=armed) as started:
        yield started


@pytest.fixture(scope="module")
def jobs(cluster: Raylets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    """Runs jobs that may join the cluster."""
    with JobServer(tmp_path_factory.mktemp("jobs") / "log", environment(**cluster.environ), "mine", "train") as server:
        yield server


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    succeed("prepare", *ARGUMENTS, "--workspace", folder)
    return folder


@contextmanager
def all_cpus_held(cluster: Raylets) -> Iterator[None]:
    """Another job, that holds what the cluster has."""
    command = [sys.executable, "-c", HOLD, cluster.address]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(**cluster.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as job:
        try:
            assert job.stdout is not None and job.stdout.readline() == "held\n"
            yield
        finally:
            job.kill()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--cluster.cpus_per_actor=2",),
            "one actor reserves 2 CPU, and no node of the cluster has that (1 node of 0 CPU, 2 nodes of 1 CPU): add a "
            "larger node, or lower cluster.num_actors or cluster.*_per_actor",
        ),
        (("--cluster.num_actors=3",), "the cluster is too small for 3 actors of 1 CPU"),
        (
            ("--cluster.gpus_per_actor=0.5",),
            "one actor reserves 1 CPU and 0.5 GPU, and no node of the cluster has that",
        ),
    ],
)
def test_what_no_node_could_ever_hold_is_refused_at_once(
    cluster: Raylets, jobs: JobServer, workspace: Path, flags: tuple[str, ...], words: str
) -> None:
    start_s = time.monotonic()
    place = ("--workspace", workspace, "--cluster.address", cluster.address)
    code, said = jobs.run("mine", *ARGUMENTS, *place, *flags)
    assert code == 4 and words in said, said
    assert "embed" not in said
    print(f"seed {SEED}: refused {flags} after {time.monotonic() - start_s:.1f} s")


def test_what_others_hold_is_waited_for_with_a_deadline(cluster: Raylets, jobs: JobServer, workspace: Path) -> None:
    limit = f"--cluster.stall_timeout_s={SHORT_S}"
    place = ("--workspace", workspace, "--cluster.address", cluster.address, "--training.source=random")
    with all_cpus_held(cluster):
        for name in ("mine", "train"):
            code, said = jobs.run(name, *ARGUMENTS, *place, limit)
            assert code == 4, said
            assert "others hold some of it" in said and "cluster.stall_timeout_s" in said
            assert "the cluster has 1 node of 0 CPU, 2 nodes of 1 CPU now, with 0 CPU free" in said


def test_a_training_worker_that_hangs_is_an_error_in_time_and_leaves_no_process(
    cluster: Raylets, workspace: Path
) -> None:
    flags = ("--training.source=random", *rounds(100_000, 20), "--run=hung")
    place = ("--workspace", workspace, "--cluster.address", cluster.address, f"--cluster.stall_timeout_s={LONG_S}")
    train = start("train", *ARGUMENTS, *flags, *place, environ=cluster.environ)
    trained = checkpoints(Workspace.open(str(workspace), "hung"))
    wait_until("a checkpoint", lambda: trained.numbers()[-1:] > [0])
    (worker,) = cluster.workers("ray::RayTrainWorker")
    worker.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    code, words = ended(train)
    took_s = time.monotonic() - stopped
    print(f"seed {SEED}: SIGSTOP of the training worker; the job ended after {took_s:.1f} s:\n{words}")
    assert code == 4 and "nothing was heard of the training workers" in words and "at step" in words
    assert LONG_S - 1.0 < took_s < 5 * LONG_S
    wait_until("it is gone", lambda: not psutil.pid_exists(worker.pid) and not cluster.workers(*OURS))


def test_nodes_that_die_and_leave_nothing_are_an_error_in_time(
    cluster: Raylets, workspace: Path, arrivals: Path
) -> None:
    """The last of this cluster: it loses its nodes. One that is left would do all; see test_nodes.py."""
    flags = ("--cluster.num_actors=2", f"--cluster.stall_timeout_s={MIDDLE_S}", "--run=lost")
    place = ("--workspace", workspace, "--cluster.address", cluster.address)
    mine = start("mine", *ARGUMENTS, *flags, *place, environ=cluster.environ)
    wait_until("an actor hangs", (arrivals / f"{Failpoint.BLOCK_SEARCHED}.1").exists)
    print(f"seed {SEED}: kill -9 of both raylets with actors")
    for node in (1, 2):
        cluster.kill(node)
    code, words = ended(mine)
    assert code == 4 and "the cluster has 1 node of 0 CPU now" in words, words
