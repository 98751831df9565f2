"""SIGTERM, as Kubernetes, `timeout` and `ray job stop` send it: at random instants, and while Ray starts."""

import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import psutil

from pipeline.storage.leases import list_leases
from pipeline.storage.workspace import Workspace
from tests.faults.job_server import JobServer
from tests.faults.kills import Outcome, mine_flags, write_vectors
from tests.faults.runs import ended, start
from tests.support.jobs import environment, succeed
from tests.support.raylets import raylets, wait_until

SEED = 83
NUM_STOPS = int(os.environ.get("MOTHERLODE_NUM_STOPS", "10"))
TERMINATED = 143
BEFORE_AND_AFTER = {-signal.SIGTERM}  # while Python starts and ends there is nothing to give up
WORDS = "stopped; run the same command to go on"


def test_who_is_stopped_at_a_random_instant_gives_up_its_leases_and_goes_on(tmp_path: Path) -> None:
    flags = (*mine_flags(write_vectors(tmp_path / "vectors.parquet", SEED)), "--cluster.anchors_per_block=4")
    prepared, rng = tmp_path / "prepared", random.Random(SEED)
    succeed("prepare", *flags, "--workspace", prepared)
    with (
        raylets(8) as cluster,
        JobServer(tmp_path / "log", environment(**cluster.environ, OMP_NUM_THREADS="1"), "mine") as server,
    ):
        flags = (*flags, f"--cluster.address={cluster.address}")
        # The first one waits for the import that all later workers share, and is longer than they.
        expected, _ = undisturbed(server, flags, shutil.copytree(prepared, tmp_path / "first"))
        _, life_s = undisturbed(server, flags, shutil.copytree(prepared, tmp_path / "undisturbed"))
        codes: list[int | None] = []
        for number in range(NUM_STOPS):
            workspace, delay_s = shutil.copytree(prepared, tmp_path / f"stopped-{number}"), rng.uniform(0.05, life_s)
            job = server.start("mine", *flags, f"--workspace={workspace}")
            code = server.wait(delay_s)
            begun = time.monotonic()
            if code is None:
                os.kill(job, signal.SIGTERM)
                code = server.wait()
            leases = [str(lease.record) for lease in list_leases(Workspace.open(str(workspace), "main").store)]
            print(f"stop {number} after {delay_s:.2f} s: exit code {code}, {time.monotonic() - begun:.2f} s, {leases}")
            assert code in {0, TERMINATED, *BEFORE_AND_AFTER} and leases == [], server.log.read_text()
            wait_until("its actors are gone", lambda: not cluster.state()["actors"])
            server.start("mine", *flags, f"--workspace={workspace}")
            assert server.wait() == 0, server.log.read_text()
            assert Outcome.of(workspace) == expected
            codes.append(code)
    assert codes.count(TERMINATED) >= NUM_STOPS // 2
    assert len(re.findall(WORDS, (tmp_path / "log").read_text())) == codes.count(TERMINATED)


def undisturbed(server: JobServer, flags: tuple[str, ...], workspace: Path) -> tuple[Outcome, float]:
    """What the job leaves, and how long it takes."""
    begun = time.monotonic()
    server.start("mine", *flags, f"--workspace={workspace}")
    assert server.wait() == 0, server.log.read_text()
    return Outcome.of(workspace), time.monotonic() - begun


def test_a_stop_while_ray_starts_leaves_no_process(tmp_path: Path) -> None:
    vectors = write_vectors(tmp_path / "vectors.parquet", SEED)
    flags = (*mine_flags(vectors), f"--workspace={tmp_path / 'workspace'}")
    succeed("prepare", *flags)
    job = start("mine", *flags, environ={})
    process = psutil.Process(job.pid)
    wait_until("Ray starts", lambda: any("gcs_server" in child.name() for child in process.children()))
    job.send_signal(signal.SIGTERM)
    code, words = ended(job)
    assert code == TERMINATED and WORDS in words, words
    assert not list((tmp_path / "workspace" / "leases").glob("*"))
