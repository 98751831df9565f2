"""The workers of the tests' own Ray, which are forks: they are as different as processes that Ray starts itself."""

import os
from typing import Any

import psutil
import ray
from ray import ObjectRef

from tests.support.forked_workers import fork_of
from tests.support.raylets import wait_until


class Fork:
    def facts(self) -> tuple[int, str]:
        """Its process id, and an id as Ray draws it for an object."""
        return os.getpid(), ObjectRef.from_random().hex()


def test_forks_draw_ids_of_their_own_and_end_with_the_process_that_ray_started() -> None:
    remote: Any = ray.remote(num_cpus=0)
    actors = [remote(Fork).remote() for _ in range(4)]
    facts: list[tuple[int, str]] = ray.get([actor.facts.remote() for actor in actors])
    forks, ids = zip(*facts, strict=True)
    assert len(set(forks)) == len(set(ids)) == len(actors), "else Ray takes one's objects for another's"
    started = {fork_of(process.name()): process for process in psutil.Process().children(recursive=True)}
    started[forks[0]].kill()
    wait_until("its fork ends", lambda: not psutil.pid_exists(forks[0]))
    forked = psutil.Process(forks[1])
    forked.kill()
    wait_until("whom Ray started ends", lambda: not started[forks[1]].is_running())
