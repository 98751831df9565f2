import os

import numpy as np
import pytest

from pipeline.benchmark.contest import Times, compete, run_alone
from pipeline.errors import InputError


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    times = compete({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert len(times.seconds["a"]) == len(times.seconds["b"]) == 3


def test_a_ratio_is_formed_within_a_round() -> None:
    times = Times({"slow": [2.0, 20.0, 6.0], "fast": [1.0, 10.0, 2.0]})
    assert times.ratio("slow", "fast") == {"median": 2.0, "min": 2.0, "max": 3.0}


def fill(megabytes: int) -> int:
    return int(np.ones(megabytes * 2**17).sum())


def die() -> None:
    os._exit(3)


def test_peak_memory_is_that_of_the_contestant_alone() -> None:
    alone = run_alone(fill, 200)
    assert alone.result == 200 * 2**17
    assert 195 < alone.peak_bytes / 2**20 < 230


def test_a_contestant_that_dies_is_an_error() -> None:
    with pytest.raises(InputError, match=r"die died \(exit code 3\)"):
        run_alone(die)
