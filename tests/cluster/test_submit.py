"""`ray start --head` and `ray job submit`, on the loopback address."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.run_jobs import ROOT, TINY, environment, succeed

RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head node of its own; yields the environment in which its command line finds it."""
    gcs, dashboard, agent = free_port(), free_port(), free_port()
    folder = f"/tmp/motherlode-ray-{dashboard}"  # sockets want a short path
    surroundings = environment(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_ADDRESS=f"http://127.0.0.1:{dashboard}",
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
    )
    head = subprocess.Popen(
        [
            RAY, "start", "--head", "--block", f"--port={gcs}", "--num-cpus=4", "--node-ip-address=127.0.0.1",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
            "--disable-usage-stats", f"--dashboard-agent-listen-port={agent}",
            f"--temp-dir={folder}",
        ],
        env={key: value for key, value in surroundings.items() if key != "RAY_ADDRESS"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while subprocess.run([RAY, "job", "list"], env=surroundings, capture_output=True, check=False).returncode:
            assert head.poll() is None and time.monotonic() < deadline, "the head node does not start"
            time.sleep(1)
        yield surroundings
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def submit(surroundings: dict[str, str], *arguments: str) -> str:
    done = try_to_submit(surroundings, *arguments)
    deadline = time.monotonic() + 60
    while "No available agent" in done.stderr and time.monotonic() < deadline:  # the head is up before its agent is
        time.sleep(1)
        done = try_to_submit(surroundings, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def try_to_submit(surroundings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAY, "job", "submit", "--working-dir", ".", "--", sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_submitted_refresh_succeeds_and_a_second_one_has_nothing_to_do(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    workspace = str(tmp_path / "workspace")
    succeed("prepare", *TINY, "--workspace", workspace)
    arguments = ("jobs.mine", "--config", "jobs/configs/demo.yaml", "--workspace", workspace, *TINY)
    first = submit(cluster, *arguments)
    assert "generation 0" in first and "published" in first and "succeeded" in first
    second = submit(cluster, *arguments)
    assert "generation 0" in second and "nothing to do" in second and "succeeded" in second
