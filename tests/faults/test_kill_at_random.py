"""kill -9 at 100 random instants: of jobs, their actors and their train workers; then the same command again.

Two campaigns go on side by side on one Ray: of ``jobs.mine``, and of ``jobs.loop``. Each disturbs its job until the
workspace is done, compares it with an undisturbed one, and begins anew.
"""

import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray

from pipeline.cluster.session import session
from pipeline.config import ClusterConfig
from tests.cluster.run_jobs import environment, succeed
from tests.faults.job_server import JobServer
from tests.faults.kills import LOOP, Outcome, Reader, mine_flags, numbers_of, publications, write_vectors

pytestmark = pytest.mark.timeout(3600)
SEED = 71
NUM_KILLS = int(os.environ.get("MOTHERLODE_NUM_KILLS", "100"))
NUM_LOOP_KILLS = max(NUM_KILLS * 15 // 100, 1)  # one costs as much as four of mining
MINE = ("--corpus.examples_per_part=4", "--cluster.anchors_per_block=4", "--mining.rows_per_shard=40")
"""More and smaller parts and blocks: then most of a job's time is work that a kill can hit."""
JOB_SHARE = 0.5
"""Of the kills that hit the job itself; the others hit an actor or a train worker, where there is one."""
START_SHARE = 0.2
"""Of the jobs that are killed at any instant from their start on; the others once they have begun to work."""
WORKERS = ("ray::RefreshWorker", "ray::RayTrainWorker")
NUM_CPUS = 16.0
_POLL_INTERVAL_S = 0.01


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray that outlives the jobs on it: its address, and the environment in which they may join it."""
    with session(ClusterConfig(), {"CPU": NUM_CPUS}):
        joining = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
        yield ray.get_runtime_context().gcs_address, environment(**joining, OMP_NUM_THREADS="1")


@dataclass
class Campaign:
    """Kills of one kind of job.

    Attributes:
        job: Its name.
        flags: Of the job.
        folder: An empty one, for workspaces.
        server: Starts the jobs.
        rng: Draws instants and victims.
        num_kills: How many it should be.
        num_killed: How many it were.
        life_s: How long an undisturbed job took.
        work_s: How long of it after its first part stood.
    """

    job: str
    flags: tuple[str, ...]
    folder: Path
    server: JobServer
    rng: random.Random
    num_kills: int
    num_killed: int = 0
    life_s: float = 0.0
    work_s: float = 0.0

    def run(self) -> None:
        """Kills as often as it should, and ends when the last workspace is done."""
        start, end = self.folder / "start", self.folder / "end"
        succeed("prepare", *self.flags, "--workspace", start)
        expected = self.observe(shutil.copytree(start, end))
        for number in itertools.count():
            workspace = shutil.copytree(start, self.folder / f"disturbed-{number}")
            with Reader(publications(workspace)) as reader:
                while not self.is_done(workspace):
                    pass
            assert Outcome.of(workspace) == expected
            print(f"jobs.{self.job}: workspace {number} is as it should be; read {reader.num_looks} times meanwhile")
            if self.num_killed == self.num_kills:
                return

    def observe(self, workspace: Path) -> Outcome:
        """Runs the job undisturbed and measures it."""
        started = time.monotonic()
        self.start(workspace)
        self.wait_for_work(workspace)
        begun = time.monotonic()
        assert self.server.wait() == 0, self.server.log.read_text()
        self.life_s, self.work_s = time.monotonic() - started, time.monotonic() - begun
        print(f"jobs.{self.job} undisturbed: {self.life_s:.1f} s, of which it works {self.work_s:.1f} s")
        return Outcome.of(workspace)

    def start(self, workspace: Path) -> int:
        """Starts the job; returns its process id."""
        return self.server.start(self.job, *self.flags, "--workspace", workspace)

    def wait_for_work(self, workspace: Path) -> int | None:
        """Waits for the first part that is written from now on; returns the exit code if the job ends before."""
        before, code = num_parts(workspace), None
        while code is None and num_parts(workspace) == before:
            code = self.server.wait(_POLL_INTERVAL_S)
        return code

    def is_done(self, workspace: Path) -> bool:
        """Starts the job and kills around in it; says whether it lived to its end."""
        process = self.start(workspace)
        anywhere = self.rng.random() < START_SHARE
        code = None if anywhere else self.wait_for_work(workspace)
        delay_s = self.rng.uniform(0.0, self.life_s if anywhere else self.work_s)
        while code is None and self.num_killed < self.num_kills:
            code = self.server.wait(delay_s)
            if code is None and self.kill(process, workspace, delay_s) == process:
                break
            delay_s = self.rng.uniform(0.0, self.work_s)
        code = self.server.wait() if code is None else code
        assert code in {0, -signal.SIGKILL}, self.server.log.read_text()
        return code == 0

    def kill(self, job: int, workspace: Path, delay_s: float) -> int:
        """Kills the job or a worker, as it is drawn, and says what then stood; returns the victim's process id."""
        workers = {} if self.rng.random() < JOB_SHARE else workers_alive()
        victim = self.rng.choice(sorted(workers)) if workers else job
        with suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.kill(victim, signal.SIGKILL)
            self.num_killed += 1
            name = workers.get(victim, f"jobs.{self.job}")
            stands = f"{numbers_of(workspace)}, {num_parts(workspace)} parts"
            print(f"kill {self.num_killed} beside jobs.{self.job}: {name} after {delay_s:.2f} s; {stands}", flush=True)
        return victim


def num_parts(workspace: Path) -> int:
    """Parts of embeddings and generations, of what was never published too."""
    folders = (workspace / "embeddings", workspace / "runs" / "main" / "generations")
    return sum(len(files) for folder in folders for _, _, files in os.walk(folder))


def workers_alive() -> dict[int, str]:
    """The actors and train workers of all jobs: what they are at, by process id."""
    names = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            names[process.pid] = " ".join(process.cmdline()).strip()
    return {process: name for process, name in names.items() if name.startswith(WORKERS)}


def test_who_is_killed_at_a_random_instant_goes_on_and_ends_where_the_undisturbed_end(
    cluster: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, environ = cluster
    print(f"seed {SEED}, {NUM_KILLS} kills")
    joined = (f"--cluster.address={address}", "--cluster.max_task_retries=100", "--training.max_failures=100")
    mine = (*mine_flags(write_vectors(tmp_path / "vectors.parquet", SEED)), *MINE)
    jobs = {"mine": (mine, NUM_KILLS - NUM_LOOP_KILLS), "loop": (LOOP, NUM_LOOP_KILLS)}
    with ThreadPoolExecutor(len(jobs)) as threads:

        def wage(job: str) -> None:
            flags, num_kills = jobs[job]
            folder = tmp_path / job
            folder.mkdir()
            with JobServer(folder / "log", environ) as server:
                Campaign(job, (*flags, *joined), folder, server, random.Random(f"{SEED} {job}"), num_kills).run()

        for campaign in [threads.submit(wage, job) for job in jobs]:
            campaign.result()
