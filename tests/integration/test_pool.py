import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.config import ClusterConfig
from pipeline.errors import InputError, UnavailableError
from pipeline.runtime.actor_pool import ActorPool, Task

CONFIG = ClusterConfig(num_actors=2, max_task_retries=2, stall_timeout_s=8.0)


class Worker:
    """Does as it is told, also to die."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def double(self, number: int) -> int:
        return 2 * number

    def nap(self, number: int) -> float:
        start = time.time()
        time.sleep(number)
        return start

    def die_once(self, number: int) -> int:
        mark = self._folder / f"died-{number}"
        if not mark.exists():
            mark.touch()
            os._exit(1)
        return 2 * number

    def die(self, number: int) -> int:
        os._exit(1)

    def refuse(self, number: int) -> int:
        raise InputError(f"number {number} is refused")

    def hang(self, number: int) -> int:
        time.sleep(60)
        return number

    def release(self) -> None:
        self.die_once(-1)

    def hang_alike(self) -> None:
        time.sleep(60)


def run(folder: Path, methods: Sequence[Callable[[Worker, int], int]]) -> dict[int, int]:
    tasks = (Task(number, method, number) for number, method in enumerate(methods))
    with ActorPool(CONFIG, Worker, str(folder)) as pool:
        return dict(pool.run(tasks))


def test_a_dead_actor_costs_its_part_alone(tmp_path: Path) -> None:
    methods = [Worker.double, Worker.die_once, Worker.double, Worker.die_once, Worker.double]
    assert run(tmp_path, methods) == {number: 2 * number for number in range(5)}
    assert len(list(tmp_path.iterdir())) == 2, "it did die"


def test_an_error_that_we_foresaw_arrives_as_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^number 1 is refused$"):
        run(tmp_path, [Worker.double, Worker.refuse])


def test_a_part_that_kills_every_actor_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="max_task_retries"):
        run(tmp_path, [Worker.double, Worker.die])


def test_actors_work_on_while_the_caller_takes_its_time_which_is_no_stall(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"num_actors": 1, "stall_timeout_s": 3.0, "wait_for_nodes_s": 60.0})
    with ActorPool(config, Worker, str(tmp_path)) as pool:
        pool.start()
        results = pool.run(Task(seconds, Worker.nap, seconds) for seconds in (0, 5))
        next(results)
        time.sleep(4.0)
        looked = time.time()
        ((_, second),) = results
    assert second < looked < second + 5, "it was at work, and longer than stall_timeout_s after the first"


def test_a_hang_is_an_error_in_time(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UnavailableError, match="stall_timeout_s"):
        run(tmp_path, [Worker.hang])
    assert time.monotonic() - start < 30


def test_a_broadcast_survives_an_actor_that_dies_and_gives_up_on_one_that_hangs(tmp_path: Path) -> None:
    with ActorPool(CONFIG, Worker, str(tmp_path)) as pool:
        assert dict(pool.run(Task(number, Worker.double, number) for number in range(2))) == {0: 0, 1: 2}
        pool.broadcast(Worker.release)
        assert len(list(tmp_path.iterdir())) == 1, "it did die"
        assert dict(pool.run(Task(number, Worker.double, number) for number in range(2))) == {0: 0, 1: 2}
        with pytest.raises(UnavailableError, match=r"2 actors of 0\.5 CPU, which are stuck or find no place"):
            pool.broadcast(Worker.hang_alike)
