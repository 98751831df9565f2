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
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.faults.job_server import JobServer
from tests.faults.kills import LOOP, Outcome, Reader, datasets, mine_flags, numbers_of, write_vectors
from tests.support.jobs import environment, succeed
from tests.support.raylets import Raylets, raylets, title, wait_until

pytestmark = pytest.mark.timeout(3600)
SEED = 71
NUM_KILLS = int(os.environ.get("MOTHERLODE_NUM_KILLS", "100"))
NUM_LOOP_KILLS = max(NUM_KILLS * 12 // 100, 1)  # one costs as much as six of mining
JOB_SHARE = 0.5
"""Of the kills that hit the job itself; the others hit an actor or a train worker, where there is one."""
START_SHARE = 0.2
"""Of the jobs that are killed at any instant from their start on; the others once they have begun to work."""
WORKERS = ("ray::RefreshWorker", "ray::RayTrainWorker")
RAYS_OWN = {"_AutoscalingCoordinatorActor"}  # of Ray Train: it outlives every job of a cluster
NUM_CPUS = 16
_POLL_INTERVAL_S = 0.01

# More and smaller parts and blocks: then most of a job's time is work that a kill can hit.
MINE = ("--corpus.examples_per_part=4", "--cluster.anchors_per_block=4", "--mining.rows_per_shard=40")
PATIENCE = ("--cluster.max_task_retries=100", "--training.max_failures=100")


@dataclass
class Campaign:
    """Kills of one kind of job.

    Attributes:
        job: Its name.
        flags: Of the job.
        folder: For workspaces; the one to begin with is in ``start``.
        cluster: Where it runs.
        rng: Draws instants and victims.
        num_kills: How many it should be.
        num_killed: How many it were.
        life_s: How long an undisturbed job took.
        work_s: How long a job works once its first part stands; the shortest time seen.
    """

    job: str
    flags: tuple[str, ...]
    folder: Path
    cluster: Raylets
    rng: random.Random
    num_kills: int
    num_killed: int = 0
    life_s: float = 0.0
    work_s: float = 0.0

    def run(self) -> None:
        """Kills as often as it should, and ends when the last workspace is done."""
        start, end = self.folder / "start", self.folder / "end"
        environ = environment(**self.cluster.environ, OMP_NUM_THREADS="1")
        with JobServer(self.folder / "log", environ, self.job) as server:
            expected = self.observe(server, shutil.copytree(start, end))
            for number in itertools.count():
                workspace = shutil.copytree(start, self.folder / f"disturbed-{number}")
                with Reader(datasets(workspace)) as reader:
                    while not self.is_done(server, workspace):
                        pass
                assert Outcome.of(workspace) == expected
                print(
                    f"jobs.{self.job}: workspace {number} is as it should be; read {reader.num_looks} times meanwhile"
                )
                if self.num_killed >= self.num_kills:
                    return

    def observe(self, server: JobServer, workspace: Path) -> Outcome:
        """Runs the job undisturbed and measures it."""
        started = time.monotonic()
        self.start(server, workspace)
        self.wait_for_work(server, workspace)
        begun = time.monotonic()
        assert server.wait() == 0, server.log.read_text()
        self.life_s, self.work_s = time.monotonic() - started, time.monotonic() - begun
        print(f"jobs.{self.job} undisturbed: {self.life_s:.1f} s, of which it works {self.work_s:.1f} s")
        return Outcome.of(workspace)

    def start(self, server: JobServer, workspace: Path) -> psutil.Process:
        """Starts the job."""
        joined = f"--cluster.address={self.cluster.address}"
        return psutil.Process(server.start(self.job, *self.flags, joined, f"--workspace={workspace}"))

    def wait_for_work(self, server: JobServer, workspace: Path) -> int | None:
        """Waits for the first part that is written from now on; returns the exit code if the job ends before."""
        before, code = num_parts(workspace), None
        while code is None and num_parts(workspace) == before:
            code = server.wait(_POLL_INTERVAL_S)
        return code

    def is_done(self, server: JobServer, workspace: Path) -> bool:
        """Starts the job and kills around in it; says whether it lived to its end."""
        job, victim = self.start(server, workspace), None
        anywhere = self.rng.random() < START_SHARE
        code = None if anywhere else self.wait_for_work(server, workspace)
        begun = time.monotonic()
        while code is None and victim != job and self.num_killed < self.num_kills:
            delay_s = self.rng.uniform(0.0, self.life_s if anywhere and victim is None else self.work_s)
            code = server.wait(delay_s)
            if code is None:
                victim = self.kill(job, workspace, delay_s)
            elif victim is None and not anywhere:
                self.work_s = min(self.work_s, time.monotonic() - begun)
        code = server.wait() if code is None else code
        assert code in {0, -signal.SIGKILL}, server.log.read_text()
        return code == 0

    def kill(self, job: psutil.Process, workspace: Path, delay_s: float) -> psutil.Process:
        """Kills the job or a worker, as it is drawn, and says what then stood."""
        workers = [] if self.rng.random() < JOB_SHARE else self.cluster.workers(*WORKERS)
        victim = self.rng.choice(workers or [job])
        name = title(victim) if workers else f"jobs.{self.job}"
        try:
            victim.kill()
        except psutil.NoSuchProcess:  # it ended by itself meanwhile
            return victim
        self.num_killed += 1
        stands = f"{numbers_of(workspace)}, {num_parts(workspace)} parts"
        print(f"kill {self.num_killed} beside jobs.{self.job}: {name} after {delay_s:.2f} s; {stands}", flush=True)
        return victim


def num_parts(workspace: Path) -> int:
    """Parts of embeddings and generations, of what was never published too."""
    folders = (workspace / "embeddings", workspace / "runs" / "main" / "generations")
    return sum(len(files) for folder in folders for _, _, files in os.walk(folder))


def test_who_is_killed_at_a_random_instant_goes_on_and_ends_where_the_undisturbed_end(tmp_path: Path) -> None:
    mine = (*mine_flags(write_vectors(tmp_path / "vectors.parquet", SEED)), *MINE)
    print(f"seed {SEED}, {NUM_KILLS} kills")
    with raylets(NUM_CPUS) as cluster, ThreadPoolExecutor() as threads:
        campaigns = [
            Campaign(job, (*flags, *PATIENCE), tmp_path / job, cluster, random.Random(f"{SEED} {job}"), num_kills)
            for job, flags, num_kills in (("mine", mine, NUM_KILLS - NUM_LOOP_KILLS), ("loop", LOOP, NUM_LOOP_KILLS))
        ]
        for campaign in campaigns:
            succeed("prepare", *campaign.flags, "--workspace", campaign.folder / "start")
        ends = [threads.submit(campaign.run) for campaign in campaigns]
        wait(ends, return_when=FIRST_EXCEPTION)
        for campaign in campaigns:
            campaign.num_kills = campaign.num_killed  # where one has failed, the other need not go on
        for end in ends:
            end.result()
        wait_until("no actor is left", lambda: set(cluster.state()["actors"]) <= RAYS_OWN)
