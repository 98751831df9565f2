"""What all fault tests share: their marker, and the proof that they leave no process behind."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.support import warm_ray

_VARIABLE = "MOTHERLODE_FAULT_TEST"
_END_TIMEOUT_S = 120.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


@pytest.fixture(scope="session", name="warm_ray")
def started_ray() -> Iterator[None]:
    """One Ray for the tests of this process whose jobs run in it; it outlives modules, and bears the mark of none."""
    with ExitStack() as until_the_end:
        with pytest.MonkeyPatch.context() as unmarked:
            unmarked.delenv(_VARIABLE, raising=False)
            until_the_end.enter_context(warm_ray.warm_ray())
        yield


@pytest.fixture(autouse=True, scope="module")
def no_process_left_behind() -> Iterator[None]:
    """Every process that a module's tests started, and those that these started, inherits a variable to know it by."""
    mark = uuid.uuid4().hex
    os.environ[_VARIABLE] = mark
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
    deadline = time.monotonic() + _END_TIMEOUT_S
    while (left := [process for process in marked(mark) if not is_agent(process)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    agents = marked(mark)
    for process in agents:
        process.kill()
    assert not left, f"left behind: {[format_process(process) for process in left]}"


def marked(mark: str) -> list[psutil.Process]:
    """Processes other than this one that carry a module's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(_VARIABLE) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def is_agent(process: psutil.Process) -> bool:
    """Ray's agents end too, but only after a minute of calling for the dead control store."""
    try:
        return "Agent" in process.name() or "agent" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return True


def format_process(process: psutil.Process) -> str:
    """A process in words."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:120]}"
    except psutil.NoSuchProcess:
        return f"{process.pid}, ended"
