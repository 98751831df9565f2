"""kill -9 at every place where the pipeline may be cut off, then the same command again.

Whoever reaches the place is killed: the job itself, which is then run again; or an actor or a train worker, which the
job replaces.
"""

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.failpoints import Failpoint, arrivals
from tests.faults.conftest import is_agent
from tests.faults.kills import LOOP, Outcome, Reader, armed, mine_flags, numbers_of, publications, write_vectors
from tests.support.jobs import ROOT, command, environment, run, succeed

pytestmark = pytest.mark.timeout(900)
SEED = 20
RUN_TIMEOUT_S = 400.0
PLACES = {place for place in Failpoint if not place.startswith("prune.")}  # these: test_prune.py


@dataclass(frozen=True)
class Kill:
    """What is killed where.

    Attributes:
        place: The place.
        job: The job that reaches it.
        arrivals: At which arrivals it kills, counted over the job and all that it is run again.
        num_deaths: How many of them are the job's own; of the others it must get over by itself.
    """

    place: Failpoint
    job: str
    arrivals: tuple[int, ...]
    num_deaths: int

    def __str__(self) -> str:
        return f"{self.place} in {self.job}"


KILLS = (
    Kill(Failpoint.FILE_WRITTEN, "prepare", (1, 5), 2),  # the first three try the store out
    Kill(Failpoint.FILE_NAMED, "prepare", (2, 8), 2),
    Kill(Failpoint.PART, "prepare", (1, 5), 2),
    Kill(Failpoint.PART_PUT, "prepare", (1, 8), 2),
    Kill(Failpoint.MANIFEST, "prepare", (1,), 1),
    Kill(Failpoint.MANIFEST_CREATED, "prepare", (1,), 1),
    # Of the generation: what comes before it is the untrained checkpoint's.
    Kill(Failpoint.PART, "mine", (4,), 1),
    Kill(Failpoint.PART_PUT, "mine", (6,), 1),
    Kill(Failpoint.MANIFEST, "mine", (2,), 1),
    Kill(Failpoint.MANIFEST_CREATED, "mine", (2,), 1),
    Kill(Failpoint.BLOCK_TAKEN, "mine", (1, 5), 2),
    Kill(Failpoint.PART_ENCODED, "mine", (1, 6), 0),
    Kill(Failpoint.PART_STORED, "mine", (2, 8), 0),
    Kill(Failpoint.SHARD_LOADED, "mine", (1, 3), 0),
    Kill(Failpoint.BLOCK_SEARCHED, "mine", (1, 7), 0),
    # The driver publishes the first checkpoint, a train worker all others; it then resumes from the one of step 3.
    Kill(Failpoint.CHECKPOINT, "loop", (1, 4), 1),
    Kill(Failpoint.CHECKPOINT_PUBLISHED, "loop", (1, 2), 1),
)


@dataclass(frozen=True)
class Undisturbed:
    """A job that nobody disturbed.

    Attributes:
        flags: Of the job.
        start: The workspace in which it starts.
        outcome: What it leaves.
    """

    flags: tuple[str, ...]
    start: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Undisturbed]:
    """Every job of ``KILLS``, by its name."""
    place = tmp_path_factory.mktemp("undisturbed")
    mine = mine_flags(write_vectors(place / "vectors.parquet", SEED))
    found = {}
    for job, flags in {"prepare": mine, "mine": mine, "loop": LOOP}.items():
        start, end = place / f"{job}-start", place / f"{job}-end"
        start.mkdir()
        if job != "prepare":
            succeed("prepare", *flags, "--workspace", start)
        shutil.copytree(start, end)
        succeed(job, *flags, "--workspace", end)
        found[job] = Undisturbed(flags, start, Outcome.of(end))
    return found


def test_no_place_is_forgotten() -> None:
    assert {kill.place for kill in KILLS} == PLACES


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_who_is_killed_at_any_place_goes_on_and_ends_where_the_undisturbed_end(
    kill: Kill, undisturbed: dict[str, Undisturbed], tmp_path: Path
) -> None:
    job, folder = undisturbed[kill.job], tmp_path / "arrivals"
    workspace = shutil.copytree(job.start, tmp_path / "workspace")
    environ = armed(folder, kill.place, *kill.arrivals)
    num_deaths = 0
    with Reader(publications(workspace)) as reader:
        flags = (*job.flags, f"--workspace={workspace}")
        while (finished := run(kill.job, *flags, timeout_s=RUN_TIMEOUT_S, **environ)).code == -signal.SIGKILL:
            num_deaths += 1
            reader.look()
            print(f"killed at {kill}, arrivals so far {arrivals(folder, kill.place)}: {numbers_of(workspace)}")
    assert finished.code == 0, finished.words
    assert num_deaths == kill.num_deaths
    assert arrivals(folder, kill.place) >= max(kill.arrivals), "all were killed who should be"
    assert reader.num_looks > num_deaths + 1
    assert Outcome.of(workspace) == job.outcome


def test_a_killed_loop_leaves_no_process_goes_on_and_ends_where_an_undisturbed_one_ends(
    undisturbed: dict[str, Undisturbed], tmp_path: Path
) -> None:
    loop = undisturbed["loop"]
    workspace = shutil.copytree(loop.start, tmp_path / "workspace")
    second_generation = 4  # the first and third manifests are of checkpoints
    environ = armed(tmp_path / "arrivals", Failpoint.MANIFEST_CREATED, second_generation)
    with Reader(publications(workspace)):
        job = subprocess.Popen(
            command("loop", *loop.flags, "--workspace", workspace),
            cwd=ROOT,
            env=environment(**environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        family: set[psutil.Process] = set()
        while job.poll() is None:
            family |= set(psutil.Process(job.pid).children(recursive=True))
            time.sleep(0.05)
        print(f"killed at the manifest of generation 1: {numbers_of(workspace)}")
        assert job.returncode == -signal.SIGKILL
        assert list(Outcome.of(workspace).triplets) == [0, 1]
        _, alive = psutil.wait_procs([process for process in family if not is_agent(process)], timeout=60)
        assert family and not alive, "a killed loop leaves no process behind"
        succeed("loop", *loop.flags, "--workspace", workspace)
    outcome = Outcome.of(workspace)
    assert outcome == loop.outcome
    assert list(outcome.triplets) == [0, 1, 2], "nothing is published twice"
    assert [step for step, _ in outcome.losses] == list(range(9)), "no step is lost or taken twice"
