"""The machine that is measured, and how torch is set for it."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import threadpoolctl
import torch


def machine_facts(device: str, num_threads: int) -> dict[str, Any]:
    """What it was measured on."""
    return {
        "name": torch.cuda.get_device_name(0) if device == "cuda" else _cpu_name(),
        "device": device,
        "num_threads": num_threads,
        "platform": platform.platform(),
        "torch": torch.__version__,
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Linux's
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {names[0] if names else platform.processor()}"


def finish(device: str) -> None:
    """Waits for what a GPU still has to do."""
    if device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads for torch and the BLAS libraries until the block ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpoolctl.threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic(warn_only: bool) -> Iterator[None]:
    """Torch's deterministic algorithms until the block ends, as a training worker sets them."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
