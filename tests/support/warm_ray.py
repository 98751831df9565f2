"""One Ray for the tests of a process: jobs that run in this process find it, and leave it running."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.config import ClusterConfig
from pipeline.runtime.resources import Reservation
from pipeline.runtime.session import session
from tests.support.forked_workers import forked_workers

NUM_CPUS = 8
"""Logical: jobs share the cores there are."""


@contextmanager
def warm_ray() -> Iterator[None]:
    """Ray on this machine, as a job starts it; but its workers get as much of the processor as the tests."""
    os.environ |= {
        "RAY_worker_niceness": "0",
        "RAY_prestart_worker_first_driver": "0",
        "REPORTER_UPDATE_INTERVAL_MS": "600000",  # nobody asks how much memory workers use
    }
    with (
        forked_workers(one_job=True),
        session(ClusterConfig(), [Reservation("test", NUM_CPUS, {"CPU": 1.0}, "NUM_CPUS")]),
    ):
        ray.get(ray.remote(lambda: None).remote())  # no test waits for what the first worker imports for all
        yield
