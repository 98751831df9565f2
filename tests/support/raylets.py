"""A cluster of several nodes on this machine, each of them a raylet with an object store of its own.

It lives in a process of its own, ``python -m tests.support.raylets CPUS...``: Ray reads its environment, token
included, once in a process. All nodes listen on 127.0.0.1 only, and answer nobody without the token. Workers are forks,
see ``forked_workers``.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from tests.support.forked_workers import fork_of, forked_workers
from tests.support.jobs import ROOT, environment

_STORE_BYTES = 100 * 2**20
_END_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Raylets:
    """A running cluster.

    Attributes:
        server: The process that it lives in.
        address: Of its control store.
        pids: Of its raylets; the first node is the head, and the one that drivers of this machine belong to.
        session_folder: Of sockets and logs.
        environ: What a process needs in its environment to be let in.
    """

    server: "subprocess.Popen[str]"
    address: str
    pids: list[int]
    session_folder: str
    environ: dict[str, str]

    def state(self) -> dict[str, Any]:
        """``actors`` that are not dead, by class; ``num_nodes`` alive; ``object_bytes`` in all object stores."""
        state: dict[str, Any] = self._ask("state")
        return state

    def add(self, cpus: float) -> None:
        """A node joins."""
        self.pids.append(self._ask(str(cpus)))

    def _ask(self, what: str) -> Any:  # noqa: ANN401 — the answer to it
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(f"{what}\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def workers(self, *names: str) -> list[psutil.Process]:
        """The processes on all living nodes whose titles begin so, as in ``ray::RefreshWorker.embed_part``."""
        return [process for node in range(len(self.pids)) for process in self.workers_of(node, *names)]

    def workers_of(self, node: int, *names: str) -> list[psutil.Process]:
        """Those on one node, while it lives."""
        if not psutil.pid_exists(self.pids[node]):
            return []
        found = map(_itself, psutil.Process(self.pids[node]).children(recursive=True))
        return [process for process in found if title(process).startswith(names)]

    def kill(self, node: int) -> None:
        """kill -9 of a raylet; its workers find out by themselves, and may still answer until they do."""
        os.kill(self.pids[node], signal.SIGKILL)


def title(process: psutil.Process) -> str:
    """What a Ray worker calls itself; empty where it has ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _itself(process: psutil.Process) -> psutil.Process:
    """A worker, where this is what Ray has started in its place."""
    with suppress(psutil.NoSuchProcess):
        if (fork := fork_of(process.name())) is not None:
            return psutil.Process(fork)
    return process


@contextmanager
def raylets(*cpus: float, environ: Mapping[str, str] | None = None) -> Iterator[Raylets]:
    """Starts a node with so many logical CPUs each, the head first.

    Args:
        *cpus: Of each node.
        environ: For the nodes, and so for all workers.
    """
    surroundings = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # see pipeline.runtime.session: the loopback address only
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_idle_worker_killing_time_threshold_ms": "60000",  # else nodes of one CPU start a process for every block
        "RAY_prestart_worker_first_driver": "0",  # it would start one for every CPU
        "RAY_worker_niceness": "0",  # workers get as much of the processor as the tests
        "REPORTER_UPDATE_INTERVAL_MS": "600000",  # each look at the memory of all workers reads all their mappings
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    folder = tempfile.mkdtemp(prefix="raylets-", dir="/tmp")  # sockets want a short path
    surroundings["RAY_TMPDIR"] = folder  # Ray notes its newest cluster there
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.raylets", *map(str, cpus)],
        cwd=ROOT,
        env=environment(**surroundings, **(environ or {})),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        line = server.stdout.readline()
        assert line, "the cluster does not start"
        yield Raylets(server, **json.loads(line), environ=surroundings)
    finally:
        family = psutil.Process(server.pid).children(recursive=True)
        server.stdin.close()
        try:
            server.wait(timeout=_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
        for process in family:
            if process.is_running():
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(what: str, is_so: Any, timeout_s: float = 500.0) -> Any:  # noqa: ANN401 — whatever is waited for
    """Asks again and again until the answer is true, and returns it; fails after a while."""
    deadline = time.monotonic() + timeout_s
    while not (answer := is_so()):
        assert time.monotonic() < deadline, f"in vain for {timeout_s:g} s: {what}"
        time.sleep(0.2)
    return answer


def _serve(cpus: Sequence[float]) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster()

    def add(cpus: float) -> Any:  # noqa: ANN401 — Ray's
        return cluster.add_node(
            num_cpus=cpus,
            node_ip_address="127.0.0.1",
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            dashboard_agent_listen_port=0,
        )

    nodes = [add(num_cpus) for num_cpus in cpus]
    started = {
        "address": cluster.address,
        "pids": [_pid(node) for node in nodes],
        "session_folder": nodes[0].get_session_dir_path(),
    }
    print(json.dumps(started), flush=True)
    for asked in sys.stdin:
        answer = _state(cluster.global_state) if asked.strip() == "state" else _pid(add(float(asked)))
        print(json.dumps(answer), flush=True)


def _pid(node: Any) -> int:  # noqa: ANN401 — Ray's
    pid: int = node.all_processes["raylet"][0].process.pid
    return pid


def _state(known: Any) -> dict[str, Any]:  # noqa: ANN401 — Ray's, untyped
    import grpc
    from ray._private import internal_api

    stats: Any = internal_api.node_stats
    alive = [node for node in known.node_table() if node["Alive"]]
    object_bytes = 0
    for node in alive:
        with suppress(grpc.RpcError):  # a node that died a moment ago is still listed
            store = stats(node["NodeManagerAddress"], node["NodeManagerPort"], False).store_stats
            object_bytes += store.object_store_bytes_used
    actors = [actor["ActorClassName"] for actor in known.actor_table(None).values() if actor["State"] != "DEAD"]
    return {"actors": sorted(actors), "num_nodes": len(alive), "object_bytes": object_bytes}


if __name__ == "__main__":
    with forked_workers():
        _serve([float(argument) for argument in sys.argv[1:]])
