"""kill -9 of the whole loop, then the same command again."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from pipeline.encoders.checkpoints import checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.cluster.run_jobs import ROOT, TINY, command, environment, succeed

pytestmark = pytest.mark.timeout(1800)
ARGUMENTS = (*TINY, "--training.num_steps=9", "--training.steps_per_round=3")
NUM_KILLS = int(os.environ.get("MOTHERLODE_NUM_KILLS", "2"))
SEED = 20
AGENTS_OUTLIVE_THEIR_RAYLET_S = 90  # Ray's agents end when they have given up on the dead control store


def published(workspace: Path) -> tuple[list[int], dict[int, str], pa.Table]:
    place = Workspace.open(str(workspace), "main")
    every = generations(place)
    trained = checkpoints(place)
    last = Generation(every, every.read(every.numbers()[-1]))
    digests = {step: trained.read(step).weights_digest for step in trained.numbers()}
    return every.numbers(), digests, last.shard(0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A loop that nobody disturbs, and how long it takes."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    succeed("prepare", *ARGUMENTS, "--workspace", workspace)
    start = time.monotonic()
    succeed("loop", *ARGUMENTS, "--workspace", workspace)
    return workspace, time.monotonic() - start


def test_a_killed_loop_goes_on_and_ends_where_an_undisturbed_one_ends(
    undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    reference, seconds = undisturbed
    rng = random.Random(SEED)
    succeed("prepare", *ARGUMENTS, "--workspace", tmp_path)
    families: list[psutil.Process] = []
    for _ in range(NUM_KILLS):
        loop = subprocess.Popen(
            command("loop", *ARGUMENTS, "--workspace", tmp_path),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        instant = rng.uniform(0.2, 0.9) * seconds
        try:
            loop.wait(timeout=instant)
        except subprocess.TimeoutExpired:
            families += psutil.Process(loop.pid).children(recursive=True)
            os.kill(loop.pid, signal.SIGKILL)
            loop.wait()
        place = Workspace.open(str(tmp_path), "main")
        print(
            f"killed after {instant:.1f} s: checkpoints {checkpoints(place).numbers()}, "
            f"generations {generations(place).numbers()}"
        )
    succeed("loop", *ARGUMENTS, "--workspace", tmp_path)
    numbers, digests, triplets = published(tmp_path)
    expected_numbers, expected_digests, expected_triplets = published(reference)
    assert numbers == expected_numbers == [0, 1, 2], "nothing is published twice"
    assert digests == expected_digests, "every checkpoint has the weights of an undisturbed run"
    assert triplets.equals(expected_triplets)
    _, alive = psutil.wait_procs(families, timeout=AGENTS_OUTLIVE_THEIR_RAYLET_S)
    assert not alive, "a killed loop leaves no process behind"
