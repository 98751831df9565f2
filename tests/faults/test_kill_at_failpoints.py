"""kill -9 at every place where the pipeline may be cut off, then the same command again, until it succeeds.

Whoever reaches the place is killed: the job itself, which is then run again; or an actor or a train worker, which the
job replaces.
"""

import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.failpoints import Failpoint, arrivals
from pipeline.storage.keys import TEMPORARY_PREFIX
from tests.faults.conftest import is_agent
from tests.faults.job_server import JobServer
from tests.faults.kills import LOOP, Outcome, Reader, armed, datasets, mine_flags, numbers_of, write_vectors
from tests.faults.runs import EAGER
from tests.support.jobs import environment, succeed
from tests.support.raylets import Raylets, raylets, wait_until

SEED = 20
POLL_INTERVAL_S, END_TIMEOUT_S = 0.25, 120.0
PLACES = {place for place in Failpoint if not place.startswith(("prune.", "study."))}
"""Those of a prune are in test_prune.py, those of a study in integration/test_submit.py."""

Kills = Mapping[Failpoint, Sequence[int]]
"""At which arrivals a place kills, counted over a job and all that it is run again."""
OF_PREPARE: Kills = {
    Failpoint.FILE_WRITTEN: (1, 5),  # the first three try the store out
    Failpoint.FILE_NAMED: (2, 8),
    Failpoint.PART: (1, 5),
    Failpoint.PART_PUT: (1, 8),
    Failpoint.MANIFEST: (1,),
    Failpoint.MANIFEST_CREATED: (1,),
}
OF_MINE: Kills = {  # of the generation: what comes before it is the untrained checkpoint's
    Failpoint.PART: (4,),
    Failpoint.PART_PUT: (6,),
    Failpoint.MANIFEST: (2,),
    Failpoint.MANIFEST_CREATED: (2,),
    Failpoint.BLOCK_TAKEN: (1, 5),
}
OF_ACTORS: Kills = {
    Failpoint.PART_ENCODED: (1,),
    Failpoint.PART_STORED: (8,),
    Failpoint.SHARD_LOADED: (1,),
    Failpoint.BLOCK_SEARCHED: (7,),
}
OF_LOOP: Kills = {
    # The driver publishes the first checkpoint, a train worker all others: it dies twice over the one of step 6.
    Failpoint.CHECKPOINT: (1, 4),
    Failpoint.CHECKPOINT_PUBLISHED: (1, 3),
    Failpoint.MANIFEST_CREATED: (4,),  # of the second generation: the first and third are of checkpoints
}


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
def undisturbed(tmp_path_factory: pytest.TempPathFactory, warm_ray: None) -> Callable[[str], Undisturbed]:
    """Every job of these tests, by its name."""
    place = tmp_path_factory.mktemp("undisturbed")
    mine = mine_flags(write_vectors(place / "vectors.parquet", SEED))
    found: dict[str, Undisturbed] = {}

    def of(job: str) -> Undisturbed:
        if job not in found:
            flags, start, end = LOOP if job == "loop" else mine, place / f"{job}-start", place / f"{job}-end"
            start.mkdir()
            if job != "prepare":
                succeed("prepare", *flags, "--workspace", start)
            shutil.copytree(start, end)
            succeed(job, *flags, "--workspace", end)
            found[job] = Undisturbed(flags, start, Outcome.of(end))
        return found[job]

    return of


def run_and_bury(server: JobServer, name: str, *arguments: str | Path) -> tuple[int, int]:
    """Runs a job, and sees that no process which it started outlives it; returns its exit code and their number."""
    job, family, code = server.start(name, *arguments), set[psutil.Process](), None
    while code is None:
        with suppress(psutil.NoSuchProcess):
            family |= set(psutil.Process(job).children(recursive=True))
        code = server.wait(POLL_INTERVAL_S)
    _, alive = psutil.wait_procs([process for process in family if not is_agent(process)], timeout=END_TIMEOUT_S)
    assert not alive, "a job leaves no process behind, however it ends"
    return code, len(family)


def kill_until_it_succeeds(
    name: str, job: Undisturbed, kills: Kills, own: set[str], folder: Path, cluster: Raylets | None = None
) -> list[int]:
    """Runs a job before the eyes of a reader until it is not killed any more; then all is as without the kills.

    Args:
        name: Of the job.
        job: What it is and leaves where nobody disturbs it.
        kills: Of it and of its actors and workers.
        own: Which of them are its own deaths, as ``"PLACE, arrival N"``; the others it must get over by itself.
        folder: An empty one.
        cluster: Where it runs; each time on a Ray of its own where that is None.

    Returns:
        How many processes each of the killed jobs had started.
    """
    workspace, counted = shutil.copytree(job.start, folder / "workspace"), folder / "arrivals"
    environ = armed(counted, kills) | (cluster.environ if cluster else EAGER)
    address = [f"--cluster.address={cluster.address}"] if cluster else []
    families: list[int] = []
    standing: dict[Path, int] = {}
    with JobServer(folder / "log", environment(**environ), name) as server, Reader(datasets(workspace)) as reader:
        while True:
            code, num_started = run_and_bury(server, name, *job.flags, *address, f"--workspace={workspace}")
            if code != -signal.SIGKILL:
                break
            families.append(num_started)
            reader.look()
            standing |= published_files(workspace)
            if cluster:
                wait_until("no actor of it is left", lambda: not cluster.state()["actors"])
            print(f"jobs.{name}, death {len(families)}, with {num_started} processes: {numbers_of(workspace)}")
    words = server.log.read_text()
    assert code == 0, words
    deaths = re.findall("failpoint (.*): kill", words)  # what its actors say is in Ray's own logs
    print(f"jobs.{name} was killed at {deaths}; arrivals {[f'{place} {arrivals(counted, place)}' for place in kills]}")
    assert set(deaths) == own and len(deaths) == len(families)
    assert all(arrivals(counted, place) >= max(numbers) for place, numbers in kills.items()), "all who should be"
    assert reader.num_looks > len(deaths) + 1
    assert standing.items() <= published_files(workspace).items(), "what stood was not made again"
    assert Outcome.of(workspace) == job.outcome
    return families


def published_files(workspace: Path) -> dict[Path, int]:
    """Manifests and embeddings with their number on the disk, which a file that is written anew does not keep."""
    found = [*workspace.rglob("manifests/*.json"), *workspace.rglob("embeddings/*/*.parquet")]
    return {path: path.stat().st_ino for path in found if not path.name.startswith(TEMPORARY_PREFIX)}


def all_of(kills: Kills) -> set[str]:
    return {f"{place}, arrival {number}" for place, numbers in kills.items() for number in numbers}


def test_no_place_is_forgotten() -> None:
    assert {place for kills in (OF_PREPARE, OF_MINE, OF_ACTORS, OF_LOOP) for place in kills} == PLACES


def test_a_preparation_killed_at_every_place_goes_on_and_ends_where_the_undisturbed_ends(
    undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    kill_until_it_succeeds("prepare", undisturbed("prepare"), OF_PREPARE, all_of(OF_PREPARE), tmp_path)


def test_a_refresh_killed_at_every_place_goes_on_and_ends_where_the_undisturbed_ends(
    undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    with raylets(2) as cluster:
        kill_until_it_succeeds("mine", undisturbed("mine"), OF_MINE, all_of(OF_MINE), tmp_path, cluster)


def test_a_refresh_gets_over_actors_killed_at_every_place_and_ends_where_the_undisturbed_ends(
    undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    kill_until_it_succeeds("mine", undisturbed("mine"), OF_ACTORS, set(), tmp_path)


def test_a_loop_killed_with_its_train_workers_leaves_no_process_and_ends_where_the_undisturbed_ends(
    undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    loop = undisturbed("loop")
    own = all_of({Failpoint.CHECKPOINT: (1,), Failpoint.CHECKPOINT_PUBLISHED: (1,), Failpoint.MANIFEST_CREATED: (4,)})
    families = kill_until_it_succeeds("loop", loop, OF_LOOP, own, tmp_path)
    assert families[-1], "the last one had processes to leave behind"
    assert list(loop.outcome.triplets) == [0, 1, 2], "nothing is published twice"
    assert [step for step, _ in loop.outcome.losses] == list(range(9)), "no step is lost or taken twice"
