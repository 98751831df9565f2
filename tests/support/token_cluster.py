"""`ray start --head` with a token, on the loopback address, and Ray's public command line before it."""

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE

from tests.support.jobs import ROOT, environment
from tests.support.raylets import wait_until

RAY = str(Path(sys.executable).with_name("ray"))
RAYS_OWN = {"_AutoscalingCoordinatorActor", "JobSupervisor"}
"""Actors that are no job's: the first is of Ray Train and outlives every job, the second follows one that runs."""
WITH_COMPILED_SCAN = {"RAY_RUNTIME_ENV_IGNORE_GITIGNORE": "1"}
"""Makes .rayignore alone decide what a working directory is."""
_NO_COMMANDS = [
    f"{what}_commands"
    for what in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
]
_NUM_CPUS = 32  # logical: jobs share the cores there are


@dataclass(frozen=True)
class TokenCluster:
    """A head node of its own.

    Attributes:
        address: Of its dashboard, where jobs are submitted.
        token: What it asks for.
        environ: The environment in which Ray's command line finds it.
    """

    address: str
    token: str
    environ: dict[str, str]

    def ray(self, *words: str, timeout_s: float = 800) -> "subprocess.CompletedProcess[str]":
        """Runs ``ray WORDS`` to its end."""
        command = [RAY, *words]
        return subprocess.run(
            command, cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def submit(
        self, identity: str, *command: str, working_dir: bool = True, environ: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Runs ``ray job submit``, which follows the job to its end.

        Args:
            identity: Submission id.
            *command: What runs there.
            working_dir: Uploads this repository, the compiled scan included, and runs in it; otherwise the code is
                found where it is, as in a baked image.
            environ: Of the job and its actors.
        """
        variables = dict(environ or {}) | ({} if working_dir else {"PYTHONPATH": str(ROOT)})
        where = ["--working-dir", "."] if working_dir else []
        return subprocess.Popen(
            [
                RAY, "job", "submit", "--submission-id", identity, *where,
                "--runtime-env-json", json.dumps({"env_vars": variables}),
                "--entrypoint-num-cpus", "0.5", "--entrypoint-num-gpus", "0", "--", *command,
            ],
            cwd=ROOT,
            env=self.environ | WITH_COMPILED_SCAN,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def job(self, identity: str) -> dict[str, Any]:
        """What is known of a submission."""
        status, words = ask(self.address, f"/api/jobs/{identity}", self.token)
        assert status == 200, words
        found: dict[str, Any] = json.loads(words)
        return found

    def living_actors(self, job: str) -> list[str]:
        """Classes of a driver's actors that are not dead."""
        status, words = ask(self.address, "/api/v0/actors?detail=1&limit=10000", self.token)
        assert status == 200, words
        found = json.loads(words)["data"]["result"]["result"]
        return [one["class_name"] for one in found if one["job_id"] == job and one["state"] != "DEAD"]


@contextmanager
def token_cluster(worker_cpus: float | None = None) -> Iterator[TokenCluster]:
    """Starts such a cluster for as long as the block takes.

    Args:
        worker_cpus: The head has no CPU, and an autoscaler adds up to two nodes of so many: Ray's own, with its
            provider for tests, which starts raylets on this machine.
    """
    gcs, dashboard, agent = free_port(), free_port(), free_port()
    folder = f"/tmp/motherlode-ray-{dashboard}"  # sockets want a short path
    address, token = f"http://127.0.0.1:{dashboard}", secrets.token_hex(32)
    surroundings = environment(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=token,
        OMP_NUM_THREADS="1",
        RAY_prestart_worker_first_driver="0",  # it would start one for every CPU
        # Ray's own patience is too short for a loaded machine: between a stop and the kill, with a node that does not
        # answer, and with its agent, which starts.
        RAY_JOB_STOP_WAIT_TIME_S="60",
        RAY_health_check_failure_threshold="40",
        RAY_agent_register_timeout_ms="300000",
    )
    num_cpus, scaling = _NUM_CPUS, []
    if worker_cpus is not None:
        num_cpus, scaling = 0, [f"--autoscaling-config={_autoscaler(Path(folder), gcs, worker_cpus)}"]
        surroundings |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        surroundings |= dict.fromkeys(("RAY_CLOUD_INSTANCE_ID", "RAY_OVERRIDE_NODE_ID_FOR_TESTING"), FAKE_HEAD_NODE_ID)
    head = subprocess.Popen(
        [
            sys.executable, "-m", "tests.support.forked_workers", "start", "--head", "--block",
            f"--port={gcs}", f"--num-cpus={num_cpus}",
            "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
            "--disable-usage-stats", f"--dashboard-agent-listen-port={agent}",
            f"--temp-dir={folder}", *scaling,
        ],
        cwd=ROOT,
        env=surroundings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    cluster = TokenCluster(address, token, surroundings | {"RAY_ADDRESS": address})
    try:
        # The dashboard is up before the agent is that starts jobs.
        body = {"entrypoint": "true", "submission_id": "first"}
        wait_until("the head starts", lambda: running(head) and ask(address, "/api/jobs/", token, body)[0] == 200)
        yield cluster
    finally:
        family = psutil.Process(head.pid).children(recursive=True)  # agents outlive the head, and write into its folder
        os.killpg(head.pid, signal.SIGKILL)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        head.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def running(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a process is still there, as it should be."""
    assert process.poll() is None, f"it ended with exit code {process.poll()}"
    return True


def _autoscaler(folder: Path, gcs_port: int, worker_cpus: float) -> Path:
    """Its config, in a file."""
    folder.mkdir()
    config = {
        "cluster_name": "test",
        "max_workers": 2,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{gcs_port}",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
        },
        "auth": {},
        "available_node_types": {
            FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": worker_cpus}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "cluster_synced_files": [],
    } | {key: [] for key in _NO_COMMANDS}
    path = folder / "autoscaler.json"
    path.write_text(json.dumps(config))
    return path


def ask(address: str, path: str, token: str | None, body: object = None) -> tuple[int, str]:
    """Status and text of an HTTP answer; 0 where what listens there speaks another language."""
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    request = urllib.request.Request(address + path, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (http.client.HTTPException, urllib.error.URLError, OSError) as error:
        return 0, str(error)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
