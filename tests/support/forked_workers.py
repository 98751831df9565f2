"""Ray whose worker processes are forks of one that has imported everything: ``with forked_workers(): ray.init()``.

On a command line, ``python -m tests.support.forked_workers start --head ...`` is ``ray start --head ...``.

A worker process imports Ray twice and torch once before it does its work of milliseconds: some three seconds of a
processor, for every actor of every test. Here Ray starts this file in the place of its ``setup_worker.py``: it hands
arguments, environment and streams over to the process that forks, and lives as long as the fork. Whoever of the two
is killed takes the other along. It names itself by the fork's process id, as ``fork_of`` reads it.
"""

import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray._private.runtime_env.context import RuntimeEnvContext

SOCKET_VARIABLE = "MOTHERLODE_TEST_FORKS"
_TITLE = "fork "
_LIBRARIES = (
    "boto3", "duckdb", "matplotlib.figure", "pyarrow.parquet", "pydantic", "safetensors.torch", "sklearn.cluster",
    "sklearn.metrics", "torch._dynamo",
)  # fmt: skip
_OF_ONE_JOB = ("ray.train", "pipeline.stages.loop", "pipeline.studies.compare.arm_worker")
"""Ray, and what imports it: it reads from its environment which job and which node a worker is of, and only once."""


@contextmanager
def forked_workers(*, one_job: bool = False) -> Iterator[None]:
    """Makes a Ray that is started inside the block fork its workers, which end with the block at the latest.

    Args:
        one_job: It has one node, and one driver joins it. Then the forks share the import of Ray itself, too.
    """
    import subprocess
    import tempfile
    from pathlib import Path
    from unittest.mock import patch

    from ray._private import services
    from ray._private.parameter import RayParams

    plain_update: Any = RayParams.update_if_absent
    plain_api_server: Any = services.start_api_server

    def update(params: Any, **values: object) -> None:  # noqa: ANN401 — Ray's, untyped
        plain_update(params, **values | ({"setup_worker_path": __file__} if "setup_worker_path" in values else {}))
        params.include_log_monitor = False  # nobody here asks Ray for what workers print
        params.no_monitor = params.include_dashboard is False  # of the autoscaler: no such cluster has one

    def start_api_server(include_dashboard: bool | None, *others: Any, **more: Any) -> tuple[str, Any]:  # noqa: ANN401
        """Without a dashboard, Ray starts the process that would show it all the same."""
        return ("", None) if include_dashboard is False else plain_api_server(include_dashboard, *others, **more)

    with (
        tempfile.TemporaryDirectory(prefix="forks-", dir="/tmp") as folder,  # sockets want a short path
        patch.object(RayParams, "update_if_absent", update),
        patch.object(services, "start_api_server", start_api_server),
        patch.dict(os.environ, {SOCKET_VARIABLE: f"{folder}/socket"}),
    ):
        command = [sys.executable, "-m", "tests.support.forked_workers", "serve", os.environ[SOCKET_VARIABLE]]
        command += ["one job"] * one_job
        server = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE)
        try:
            while not Path(os.environ[SOCKET_VARIABLE]).exists():
                assert server.poll() is None, "the process that forks does not start"
                time.sleep(0.01)
            yield
        finally:
            server.communicate(timeout=60)


def fork_of(name: str) -> int | None:
    """The process id of a fork by the name of the process that Ray has started; None where that is no such process."""
    return int(name.removeprefix(_TITLE)) if name.startswith(_TITLE) else None


def _hand_over() -> int:
    """The process that Ray starts; returns the exit code of the fork."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ[SOCKET_VARIABLE])
        message = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()  # noqa: PTH109 — without an import
        socket.send_fds(server, [len(message).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(message)
        fork = int.from_bytes(server.recv(8), "big")
        with open("/proc/self/comm", "w") as name:  # noqa: PTH123 — without an import
            name.write(f"{_TITLE}{fork}")
        code = server.recv(1)
        return code[0] if code else 1


def _serve(path: str, *, one_job: bool) -> None:
    """The process that forks, until its standard input is closed."""
    wakes, wake = os.pipe2(os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    forks: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for file in (0, wakes, listener):
            selector.register(file, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj == 0:
                    for process in forks:
                        os.kill(process, signal.SIGKILL)
                    return
                if key.fileobj == wakes:
                    os.read(wakes, 4096)
                    for process, code in _ended():
                        ended = forks.pop(process)
                        selector.unregister(ended)
                        with ended, suppress(OSError):
                            ended.sendall(bytes([code]))
                elif key.fileobj is listener:
                    connection = listener.accept()[0]
                    if (fork := _fork(connection, one_job=one_job)) is None:
                        connection.close()
                        continue
                    with suppress(OSError):  # it was killed meanwhile, and is noticed below
                        connection.sendall(fork.to_bytes(8, "big"))
                    forks[fork] = connection
                    selector.register(connection, selectors.EVENT_READ, fork)
                elif key.data in forks:  # whom Ray has started was killed
                    os.kill(key.data, signal.SIGKILL)


def _ended() -> Iterator[tuple[int, int]]:
    """Forks that have ended since, and their exit codes."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1]) % 256


def _fork(connection: socket.socket, *, one_job: bool) -> int | None:
    """The process id of a new fork; None where whom Ray has started was killed before it had handed over."""
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    message, size = bytearray(), int.from_bytes(head, "big")
    while len(message) < size and (more := connection.recv(2**16)):
        message += more
    if not head or len(message) < size:
        for stream in streams:
            os.close(stream)
        return None
    arguments, folder, environ = json.loads(message)
    if _LIBRARIES[0] not in sys.modules:  # not before: Ray, which gives up after 30 s, starts beside as few as can be
        _become(folder, environ)
        for name in _LIBRARIES:
            importlib.import_module(name)
        if one_job:
            _import_ray()
    process = os.fork()
    if process == 0:
        _become(folder, environ)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        _run(arguments)
    for stream in streams:
        os.close(stream)
    return process


def _import_ray() -> None:
    """Imports it without a draw from Ray's own random numbers: forks would all draw the same ids after it."""
    actor: Any = importlib.import_module("ray.actor")
    drawn_by_ray = actor.ActorClassID

    class SystemsRandom:
        """Draws what every actor class has from its definition on."""

        @staticmethod
        def from_random() -> Any:  # noqa: ANN401 — Ray's
            return drawn_by_ray(os.urandom(drawn_by_ray.size()))

    actor.ActorClassID = SystemsRandom
    for name in _OF_ONE_JOB:
        importlib.import_module(name)


def _become(folder: str, environ: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)


def _run(arguments: list[str]) -> None:
    """What ``setup_worker.py`` and the Python after it do."""
    import argparse
    import atexit
    import runpy

    context_class: Any = importlib.import_module("ray._private.runtime_env.context").RuntimeEnvContext
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        parser = argparse.ArgumentParser()
        parser.add_argument("--language")
        parser.add_argument("--serialized-runtime-env-context", default="{}")
        own, sys.argv = parser.parse_known_args(arguments)
        _enter(context_class.deserialize(own.serialized_runtime_env_context))
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 — told as a process of its own would tell it
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _enter(context: "RuntimeEnvContext") -> None:
    """A job's own environment: its variables, its working directory, and its code from there."""
    from ray._private.utils import update_envs

    assert context.py_executable == sys.executable, "another Python cannot be forked"
    match context.command_prefix:
        case ["cd", folder, "&&"]:
            os.chdir(folder)
        case other:
            assert not other, f"unknown: {other}"
    if context.env_vars:
        update_envs(context.env_vars)
        sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
            del sys.modules[name]


def _main() -> None:
    match sys.argv[1:]:
        case ["serve", path, *one_job]:
            _serve(path, one_job=bool(one_job))
        case ["start", *_]:
            with forked_workers():
                importlib.import_module("ray.scripts.scripts").main()
        case _:
            os._exit(_hand_over())


if __name__ == "__main__":
    _main()
