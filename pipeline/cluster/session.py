"""A connection to Ray, and the check that a job's wishes can be met before anything starts."""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import ray
from ray._private import ray_constants
from ray.exceptions import RayError

from pipeline.cluster.pool import first_line
from pipeline.cluster.resources import Reservation, actors_of, find_misfit, live_nodes, trainers_of
from pipeline.config import ClusterConfig, RunConfig
from pipeline.errors import UnavailableError
from pipeline.progress import say


def required_resources(config: RunConfig, *, pool: bool, trainer: bool) -> list[Reservation]:
    """What a job reserves.

    Args:
        config: The run.
        pool: Whether it embeds or mines.
        trainer: Whether it trains.
    """
    return [actors_of(config.cluster)] * pool + [trainers_of(config)] * trainer


@contextmanager
def session(config: ClusterConfig, required: Sequence[Reservation]) -> Iterator[None]:
    """Joins a cluster, or starts Ray on this machine for as long as the block runs.

    A local Ray listens on the loopback address only, without a dashboard, and counts at least as many logical
    CPUs as the job reserves: on a small machine the stages then share the cores there are. What workers print
    stays in Ray's own logs; progress and errors reach the driver by other ways.

    Args:
        config: Its ``address`` decides; None means local.
        required: What the job reserves; see ``required_resources``.

    Raises:
        UnavailableError: No cluster answers, or it could never give what is required.
    """
    local = config.address in (None, "local")
    with _loopback_only() if local else nullcontext():
        _connect(config, local, required)
        try:
            check_resources(required)
            yield
        finally:
            ray.shutdown()


def _connect(config: ClusterConfig, local: bool, required: Sequence[Reservation]) -> None:
    try:
        if local:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, math.ceil(sum(one.total("CPU") for one in required))),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        else:
            ray.init(address=config.address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        where = "locally" if local else f"at {config.address}"
        raise UnavailableError(f"Ray cannot be reached {where} ({first_line(error)}): check cluster.address") from error


def check_resources(required: Sequence[Reservation]) -> None:
    """Compares what a job reserves with the nodes that are alive.

    What they have, but others hold, is waited for; see ``ClusterConfig.stall_timeout_s``.

    Raises:
        UnavailableError: The request could never be met, and would wait for ever.
    """
    misfit = find_misfit(required, live_nodes())
    if misfit is not None:
        raise UnavailableError(misfit)
    available: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    if any(sum(one.total(name) for one in required) > available.get(name, 0.0) + 1e-9 for name in ("CPU", "GPU")):
        say("the cluster has what this job needs, but others hold some of it: waiting for them may take a while")


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
