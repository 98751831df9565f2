"""kill -9 of the whole loop, then the same command again."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.encoders.checkpoints import checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.cluster.run_jobs import ROOT, TINY, command, environment, succeed

pytestmark = pytest.mark.timeout(1800)
ARGUMENTS = (*TINY, "--training.num_steps=9", "--training.steps_per_round=3")
NUM_KILLS = int(os.environ.get("MOTHERLODE_NUM_KILLS", "2"))
SEED = 20


def published(workspace: Path) -> tuple[list[int], dict[int, str], pa.Table]:
    place = Workspace.open(str(workspace), "main")
    every = generations(place)
    trained = checkpoints(place)
    last = Generation(every, every.read(every.numbers()[-1]))
    digests = {step: trained.read(step).weights_digest for step in trained.numbers()}
    return every.numbers(), digests, last.shard(0)


def loss_trace(workspace: Path, run: str = "main") -> list[tuple[int, float]]:
    """Every step of the run with its loss, from the log that checkpoints carry."""
    trained = checkpoints(Workspace.open(str(workspace), run))
    trace = []
    for number in trained.numbers()[1:]:
        log = pq.read_table(pa.BufferReader(trained.read_part(trained.read(number).parts_of("steps")[0])))
        trace += list(zip(log["step"].to_pylist(), log["loss"].to_pylist(), strict=True))
    return trace


def num_objects(workspace: Path) -> int:
    return sum(path.is_file() for path in workspace.rglob("*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a loop that nobody disturbs."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    succeed("prepare", *ARGUMENTS, "--workspace", workspace)
    succeed("loop", *ARGUMENTS, "--workspace", workspace)
    return workspace


def is_agent(process: psutil.Process) -> bool:
    """Ray's agents end too, but only after a minute of calling for the dead control store."""
    try:
        return "Agent" in process.name()
    except psutil.NoSuchProcess:
        return False


def kill_when(workspace: Path, count: int, delay_s: float) -> list[psutil.Process]:
    """Starts the loop and kills it once the workspace holds so many objects; returns the processes it had."""
    loop = subprocess.Popen(
        command("loop", *ARGUMENTS, "--workspace", workspace),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while num_objects(workspace) < count and loop.poll() is None:
        time.sleep(0.02)
    time.sleep(delay_s)
    assert loop.poll() is None, "the loop ended before it could be killed"
    family = psutil.Process(loop.pid).children(recursive=True)
    os.kill(loop.pid, signal.SIGKILL)
    loop.wait()
    return family


def test_a_killed_loop_goes_on_and_ends_where_an_undisturbed_one_ends(undisturbed: Path, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    succeed("prepare", *ARGUMENTS, "--workspace", tmp_path)
    first, last = num_objects(tmp_path), num_objects(undisturbed)
    families: list[psutil.Process] = []
    for count in sorted(rng.sample(range(first, last - 8), NUM_KILLS)):  # the last ones are the evaluation's
        delay_s = rng.uniform(0.0, 0.3)
        families += kill_when(tmp_path, max(count, num_objects(tmp_path) + 1), delay_s)
        place = Workspace.open(str(tmp_path), "main")
        print(
            f"killed {delay_s:.2f} s after object {count}: checkpoints {checkpoints(place).numbers()}, "
            f"generations {generations(place).numbers()}"
        )
    succeed("loop", *ARGUMENTS, "--workspace", tmp_path)
    numbers, digests, triplets = published(tmp_path)
    expected_numbers, expected_digests, expected_triplets = published(undisturbed)
    assert numbers == expected_numbers == [0, 1, 2], "nothing is published twice"
    assert digests == expected_digests, "every checkpoint has the weights of an undisturbed run"
    assert triplets.equals(expected_triplets)
    assert loss_trace(tmp_path) == loss_trace(undisturbed), "the same steps, to the bit"
    assert [step for step, _ in loss_trace(tmp_path)] == list(range(9)), "no step lost or taken twice"
    _, alive = psutil.wait_procs([process for process in families if not is_agent(process)], timeout=30)
    assert not alive, "a killed loop leaves no process behind"


def test_a_killed_ddp_worker_costs_the_steps_since_the_last_checkpoint(undisturbed: Path) -> None:
    rounds = ("--training.num_steps=120", "--training.steps_per_round=40")
    workers_of_one_thread = ("--training.num_workers=2", "--training.threads_per_worker=1")
    flags = (*TINY, "--workspace", undisturbed, "--training.source=online", *rounds, *workers_of_one_thread)
    succeed("train", *flags, "--run=whole")
    job = subprocess.Popen(
        command("train", *flags, "--run=killed"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    whole, killed = (checkpoints(Workspace.open(str(undisturbed), run)) for run in ("whole", "killed"))
    while killed.numbers()[-1:] != [40] and job.poll() is None:
        time.sleep(0.02)
    workers = [process for process in psutil.Process(job.pid).children(recursive=True) if is_training(process)]
    assert len(workers) == 2
    workers[1].kill()
    _, words = job.communicate(timeout=240)
    assert job.returncode == 0, words.decode()
    assert killed.numbers() == [0, 40, 80, 120]
    digests = [[trained.read(step).weights_digest for step in trained.numbers()] for trained in (whole, killed)]
    assert digests[0] == digests[1]
    assert loss_trace(undisturbed, "killed") == loss_trace(undisturbed, "whole")


def is_training(process: psutil.Process) -> bool:
    """Whether this is one of Ray Train's workers."""
    try:
        return "TrainWorker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
