"""A connection to Ray, and the check that a job's wishes can be met before anything starts."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import ray
from ray._private import ray_constants
from ray.exceptions import RayError

from pipeline.cluster.pool import first_line
from pipeline.config import ClusterConfig, RunConfig
from pipeline.errors import UnavailableError
from pipeline.progress import say


def required_resources(config: RunConfig, *, pool: bool, trainer: bool) -> dict[str, float]:
    """What a job reserves in all.

    Args:
        config: The run.
        pool: Whether it embeds or mines.
        trainer: Whether it trains.

    Returns:
        Logical CPUs and GPUs; a GPU entry only where some are wanted.
    """
    cluster, training = config.cluster, config.training
    cpus = gpus = 0.0
    if pool:
        cpus += cluster.num_actors * cluster.cpus_per_actor
        gpus += cluster.num_actors * cluster.gpus_per_actor
    if trainer:
        cpus += training.num_workers * cluster.cpus_per_trainer
        gpus += training.num_workers * cluster.gpus_per_trainer
    return {"CPU": cpus} | ({"GPU": gpus} if gpus else {})


@contextmanager
def session(config: ClusterConfig, required: dict[str, float]) -> Iterator[None]:
    """Joins a cluster, or starts Ray on this machine for as long as the block runs.

    A local Ray listens on the loopback address only, without a dashboard, and counts at least as many logical
    CPUs as the job reserves: on a small machine the stages then share the cores there are. What workers print
    stays in Ray's own logs; progress and errors reach the driver by other ways.

    Args:
        config: Its ``address`` decides; None means local.
        required: What the job reserves in all; see ``required_resources``.

    Raises:
        UnavailableError: No cluster answers, or it has not what is required.
    """
    local = config.address in (None, "local")
    with _loopback_only() if local else nullcontext():
        _connect(config, local, required)
        try:
            check_resources(required)
            yield
        finally:
            ray.shutdown()


def _connect(config: ClusterConfig, local: bool, required: dict[str, float]) -> None:
    try:
        if local:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, math.ceil(required["CPU"])),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        else:
            ray.init(address=config.address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        where = "locally" if local else f"at {config.address}"
        raise UnavailableError(f"Ray cannot be reached {where} ({first_line(error)}): check cluster.address") from error


def check_resources(required: dict[str, float]) -> None:
    """Compares what a job reserves with what the cluster has in all.

    Raises:
        UnavailableError: The request could never be met, and would wait for ever.
    """
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    lacking = [
        f"{amount:g} {name} asked for, {total.get(name, 0.0):g} there"
        for name, amount in required.items()
        if amount > total.get(name, 0.0) + 1e-9
    ]
    if lacking:
        raise UnavailableError(
            f"the cluster is too small ({'; '.join(lacking)}): add nodes, or lower cluster.num_actors, "
            "cluster.*_per_actor, training.num_workers or cluster.*_per_trainer"
        )
    available: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    if any(amount > available.get(name, 0.0) + 1e-9 for name, amount in required.items()):
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
