"""Ray: whoever may submit a job may run anything, so nobody may without the token, and nobody from another machine."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from subprocess import DEVNULL

import psutil
import pytest
import ray

from pipeline.config import ClusterConfig
from pipeline.runtime.session import session
from tests.support.jobs import ROOT
from tests.support.token_cluster import RAY, TokenCluster, ask

START_TIMEOUT_S = 400.0
CLOSED = (401, 403)
PATHS = ("/api/jobs/", "/api/jobs/own", "/api/jobs/own/logs", "/api/v0/actors", "/api/v0/tasks", "/nodes?view=summary")
BADGES = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS"}
MORE_TIME_S, WATCH_S = 5.0, 5.0
PARTS = ("gcs_server", "raylet", "DashboardAgent", "RuntimeEnvAgent", "IDLE")
SECRET_WORDS = "what only the owner may read"


def wait_for(address: str, token: str, job: dict[str, str]) -> None:
    """Submits a job as its owner, and waits until it has ended."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while ask(address, "/api/jobs/", token, job)[0] != 200:  # the head is up before its agent is
        assert time.monotonic() < deadline
        time.sleep(0.5)
    while (job_status := json.loads(ask(address, "/api/jobs/own", token)[1])["status"]) != "SUCCEEDED":
        assert time.monotonic() < deadline and job_status != "FAILED"
        time.sleep(0.5)


def family(token: str) -> set[psutil.Process]:
    """The processes that were given a token, and theirs: what sets its own title overwrites its environment."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_AUTH_TOKEN") == token:
                found |= {process, *process.children(recursive=True)}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def listening(processes: Iterable[psutil.Process]) -> Iterator[tuple[str, int, str]]:
    """Addresses, ports and names of what takes connections or datagrams from whoever sends them.

    A name is the start of a command line without its folders, which may be of any length.
    """
    for process in processes:
        try:
            for one in process.net_connections("inet"):
                if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and not one.raddr):
                    yield one.laddr.ip, one.laddr.port, " ".join(Path(word).name for word in process.cmdline()[:4])
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def connect(uri: str, mark: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process that joins a cluster and lets it make a folder."""
    make = f"lambda: os.makedirs({str(mark)!r}, exist_ok=True)"
    code = f"import ray, os; ray.init({uri!r}); ray.get(ray.remote({make}).remote())"
    return subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=DEVNULL, stderr=DEVNULL)


def test_jobs_logs_and_state_answer_whoever_has_the_token_and_nobody_else(
    cluster: TokenCluster, tmp_path: Path
) -> None:
    address, token = cluster.address, cluster.token
    mark, marks = tmp_path / "mark", tmp_path / "marks"
    marks.mkdir()
    theirs = {"entrypoint": f"touch {mark}", "submission_id": "theirs"}
    wait_for(address, token, {"entrypoint": f"echo {SECRET_WORDS}", "submission_id": "own"})
    assert SECRET_WORDS in ask(address, "/api/jobs/own/logs", token)[1]
    wrong_tokens = {"none": None, "empty": "", "another": "0" * 64, "nearly": token[:-1] + "z"}
    for path in PATHS:
        assert ask(address, path, token)[0] == 200, path
        for name, wrong in wrong_tokens.items():
            status, words = ask(address, path, wrong)
            print(f"{path}, token: {name}: {status}")
            assert status in CLOSED and SECRET_WORDS not in words
    assert all(ask(address, "/api/jobs/", wrong, theirs)[0] in CLOSED for wrong in wrong_tokens.values())
    assert ask(address, "/api/jobs/own", None)[0] == 401

    # The dashboard is one door; every process of Ray has others.
    ports = {port: name for _, port, name in listening(family(token))}
    assert sum("Agent" in name for name in ports.values()) > 1, ports
    for port, name in sorted(ports.items()):
        for path in ("/api/job_agent/jobs/", "/get_or_create_runtime_env"):
            status, _ = ask(f"http://127.0.0.1:{port}", path, None, theirs)
            print(f"{name}: {port}{path}: {status}")
            assert status in (*CLOSED, 0, 405)  # 405: figures for Prometheus, which can be read
    (control,) = (port for port, name in ports.items() if "gcs_server" in name)
    (client,) = (port for port, name in ports.items() if "util.client.server" in name)
    known = {name: value for name, value in cluster.environ.items() if name not in BADGES}
    stranger = known | {"HOME": str(tmp_path)}  # where a token may lie, too
    owner, guesser = ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": one} for one in (token, "0" * 64))
    doors = (f"127.0.0.1:{control}", f"ray://127.0.0.1:{client}")
    deadline = time.monotonic() + START_TIMEOUT_S
    tries = {
        (uri, who): connect(uri, marks / f"{number}-{who}", stranger | badge)
        for number, uri in enumerate(doors)
        for who, badge in (("stranger", {}), ("guesser", guesser))
    }
    try:
        for number, uri in enumerate(doors):
            mark_of_owner = marks / f"{number}-owner"
            while connect(uri, mark_of_owner, stranger | owner).wait(timeout=START_TIMEOUT_S) != 0:
                assert time.monotonic() < deadline  # Ray's client gives a loaded machine half a minute
        time.sleep(MORE_TIME_S)  # strangers are not told no: they are left to try
    finally:
        for process in tries.values():
            process.kill()
            process.wait()
    assert sorted(path.name for path in marks.iterdir()) == ["0-owner", "1-owner"]
    submission = [RAY, "job", "submit", "--", "touch", str(mark)]
    assert subprocess.run(submission, env=stranger | {"RAY_ADDRESS": address}, check=False).returncode != 0
    assert ask(address, "/api/jobs/theirs", token)[0] == 404 and not mark.exists()


def test_a_ray_that_a_job_starts_takes_connections_from_this_machine_alone() -> None:
    seen: set[tuple[str, int, str]] = set()
    with session(ClusterConfig(), []):
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        begun, missing = time.monotonic(), set(PARTS)
        while missing or time.monotonic() < begun + WATCH_S:  # agents come later than the rest
            assert time.monotonic() < begun + START_TIMEOUT_S, (missing, seen)
            seen.update(listening([psutil.Process(), *psutil.Process().children(recursive=True)]))
            missing = {part for part in PARTS if not any(part in name for _, _, name in seen)}
            time.sleep(0.5)
    assert {address.removeprefix("::ffff:") for address, _, _ in seen} <= {"127.0.0.1", "::1"}, seen


STARTS = re.compile(r"\bray (start|up)\b|kind: Ray(Cluster|Service)\b|\brayClusterSpec:")
GUARD = re.compile(r"RAY_AUTH_MODE\W{1,12}(value: *)?[\"']?token\b|authOptions:\s+mode: token\b")
NOT_SHIPPED = {"tests", "build", "dist"}


def unguarded(text: str) -> bool:
    """Whether a file starts a Ray that takes jobs from anybody."""
    return bool(STARTS.search(text)) and not GUARD.search(text)


def shipped_files() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_SHIPPED]
        folders[:] = [name for name in folders if not name.endswith(".egg-info") and name != "__pycache__"]
        yield from (Path(folder, name) for name in names)


def test_every_file_that_starts_ray_asks_for_the_token() -> None:
    files = list(shipped_files())
    assert ROOT / "README.md" in files and ROOT / "pipeline" / "runtime" / "session.py" in files
    assert [file for file in files if unguarded(file.read_bytes().decode(errors="replace"))] == []


@pytest.mark.parametrize(
    ("text", "is_unguarded"),
    [
        ("ray start --head", True),
        ("  - ray up cluster.yaml\n", True),
        ("apiVersion: ray.io/v1\nkind: RayCluster\n", True),
        ("RAY_AUTH_MODE=off ray start --head", True),
        ("RAY_AUTH_MODE=token ray start --head", False),
        ("ENV RAY_AUTH_MODE=token\nCMD ray start --head", False),
        ("- name: RAY_AUTH_MODE\n  value: token\nkind: RayCluster", False),
        ('- {name: RAY_AUTH_MODE, value: "token"}\nkind: RayCluster', False),
        ("kind: RayCluster\nspec:\n  authOptions:\n    mode: token\n", False),
        ("an array starts here", False),
    ],
)
def test_what_starts_ray_without_the_token_would_be_found(text: str, is_unguarded: bool) -> None:
    assert unguarded(text) == is_unguarded
