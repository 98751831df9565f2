"""Fair timing on a machine that others use too: contestants take turns, and ratios are formed within a turn."""

import importlib
import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from pipeline.errors import InputError
from pipeline.stages.node_facts import resident_bytes

T = TypeVar("T")


@dataclass(frozen=True)
class Times:
    """Seconds of each contestant in each round, all rounds in the same order."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Median seconds of a contestant."""
        return float(np.median(self.seconds[name]))

    def ratio(self, slow: str, fast: str) -> dict[str, float]:
        """How many times as long ``slow`` took as ``fast``: median, smallest and largest ratio over the rounds."""
        ratios = np.array(self.seconds[slow]) / np.array(self.seconds[fast])
        return {"median": float(np.median(ratios)), "min": float(ratios.min()), "max": float(ratios.max())}


def time_once(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def take_turns(contestants: Mapping[str, Callable[[], T]], num_rounds: int) -> dict[str, list[T]]:
    """Lets contestants run in turn, A B C A B C …, after one round that does not count; what each returned."""
    returned: dict[str, list[T]] = {name: [] for name in contestants}
    for _ in range(num_rounds + 1):
        for name, run in contestants.items():
            returned[name].append(run())
    return {name: values[1:] for name, values in returned.items()}


def compete(contestants: Mapping[str, Callable[[], object]], num_rounds: int) -> Times:
    """Times contestants that take turns."""
    return Times(take_turns({name: partial(time_once, run) for name, run in contestants.items()}, num_rounds))


@dataclass(frozen=True)
class Alone:
    """What a contestant did in a process of its own.

    Attributes:
        result: What it returned.
        peak_bytes: Largest resident memory of the process less what it had before the contestant ran.
    """

    result: Any
    peak_bytes: int


def run_alone(function: Callable[..., Any], *args: object, preload: tuple[str, ...] = ()) -> Alone:
    """Runs a module's function in a fresh process and measures its peak memory, without that of the modules to preload.

    Raises:
        InputError: The process died.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sending, function, args, preload))
    process.start()
    sending.close()
    try:
        result, before, after = receiving.recv()
    except EOFError:
        process.join()
        raise InputError(
            f"{function.__name__} died (exit code {process.exitcode}): too little memory is the usual cause"
        ) from None
    process.join()
    return Alone(result, after - before)


def _measure(
    sending: Any,  # noqa: ANN401 — a Connection
    function: Callable[..., Any],
    args: tuple[object, ...],
    preload: tuple[str, ...],
) -> None:
    for module in preload:
        importlib.import_module(module)
    before = resident_bytes()
    result = function(*args)
    sending.send((result, before, resident_bytes(peak=True)))
