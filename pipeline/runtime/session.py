"""A connection to Ray, and the check before anything starts that the cluster can hold what a job reserves."""

import logging
import math
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import ray
from ray._private import ray_constants
from ray._private import utils as ray_utils
from ray.exceptions import RayError

from pipeline.config import ClusterConfig, RunConfig
from pipeline.errors import UnavailableError
from pipeline.progress import log
from pipeline.runtime.remote import first_line
from pipeline.runtime.resources import (
    Reservation,
    actor_reservation,
    live_nodes,
    trainer_reservation,
    unschedulable_reason,
    wait_for_nodes,
)


def required_resources(config: RunConfig, *, pool: bool, trainer: bool) -> list[Reservation]:
    """What a job reserves: a ``pool`` where it embeds or mines, and a ``trainer`` where it trains."""
    return [actor_reservation(config.cluster)] * pool + [trainer_reservation(config)] * trainer


@contextmanager
def session(config: ClusterConfig, required: Sequence[Reservation]) -> Iterator[float]:
    """Joins a cluster, or starts Ray on this machine for as long as the block runs.

    A local Ray listens on the loopback address only, without a dashboard, and counts at least as many logical
    CPUs as the job reserves: on a small machine the stages then share the cores there are. What workers print
    stays in Ray's own logs; progress and errors reach the driver by other ways.

    A program that has called ``ray.init`` itself keeps its Ray: the block uses it, and leaves it running.

    Args:
        config: Its ``address`` decides; None means local.
        required: What the job reserves; see ``required_resources``.

    Yields:
        How many seconds nodes were waited for (``cluster.wait_for_nodes_s``).

    Raises:
        UnavailableError: No cluster answers, or it could never give what is required.
    """
    local = config.address in (None, "local")
    if ray.is_initialized():
        yield check_resources(required, None if local else config.wait_for_nodes_s)
        return
    with _loopback_only() if local else nullcontext():
        try:
            with _sigterm_handler_kept():
                _connect(config, local, required)
            yield check_resources(required, None if local else config.wait_for_nodes_s)
        finally:
            ray.shutdown()


def _connect(config: ClusterConfig, local: bool, required: Sequence[Reservation]) -> None:
    if local and config.metrics_port is not None:
        _check_port(config.metrics_port)
    try:
        if local:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            # What ends all processes of a job at once, as `timeout` does, ends Ray's too: they need no 5 s.
            os.environ.setdefault("RAY_task_events_shutdown_flush_timeout_ms", "500")
            # A process that made a block's queries makes the next: with few CPUs Ray would end it after a second.
            os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, math.ceil(sum(processes.total("CPU") for processes in required))),
                include_dashboard=False,
                _metrics_export_port=config.metrics_port,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        else:
            ray.init(address=config.address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        where = "locally" if local else f"at {config.address}"
        raise UnavailableError(f"Ray cannot be reached {where} ({first_line(error)}): check cluster.address") from error


def _check_port(port: int) -> None:
    """Ray would go on without its metrics, and say nothing."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise UnavailableError(
            f"cluster.metrics_port {port} is not to be had on 127.0.0.1 ({error.strerror}): name another, or "
            "null for any"
        ) from None


def check_resources(required: Sequence[Reservation], wait_s: float | None) -> float:
    """Compares what a job reserves with the nodes that are alive.

    What they have, but others hold, is waited for; see ``ClusterConfig.stall_timeout_s``.

    Args:
        required: What the job reserves.
        wait_s: How long nodes that are missing are waited for; None where none can come.

    Returns:
        How many seconds they were waited for.

    Raises:
        UnavailableError: The request could never be met, and would wait for ever.
    """
    reason = unschedulable_reason(required, live_nodes())
    if reason is not None and wait_s:
        begun = time.monotonic()
        reason = wait_for_nodes(required, wait_s)
        if reason is None:
            return time.monotonic() - begun
    elif reason is not None and wait_s is not None:
        reason += "; or let the job wait for nodes that are being added (cluster.wait_for_nodes_s)"
    if reason is not None:
        raise UnavailableError(reason)
    available: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    reserved = {name: sum(processes.total(name) for processes in required) for name in ("CPU", "GPU")}
    if any(amount > available.get(name, 0.0) + 1e-9 for name, amount in reserved.items()):
        log("the cluster has what this job needs, but others hold some of it: waiting for them may take a while")
    return 0.0


@contextmanager
def _sigterm_handler_kept() -> Iterator[None]:
    """Keeps a handler of SIGTERM that the program has in force while and after the block runs ``ray.init``.

    That would put two of its own in its place: one by which a signal that comes during ``ray.get`` ends as an error of
    Ray's, and over it one that prints a stack trace first.
    """
    handler, set_handler = signal.getsignal(signal.SIGTERM), ray_utils.set_sigterm_handler
    if not callable(handler):
        yield
        return
    ray_utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = set_handler
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Makes a Ray that is started inside the block use 127.0.0.1 for all its servers.

    ``ray.init`` replaces a loopback address that it is given by the machine's own. The switch that it has for
    desktop systems, "no clusters here", keeps it on the loopback address on every system; processes inherit it
    from the environment, and this one, which has read it already, is told directly.
    """
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = (os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[name]
        else:
            os.environ[name] = before[0]
