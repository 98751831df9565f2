"""The compiled module: whether it is there, and what it offers to this processor."""

import importlib
from types import ModuleType

from pipeline.errors import InputError
from pipeline.mining.backends.native.ladder import InstructionSet, Kernel


def unavailable_reason() -> str | None:
    """Why the compiled scan cannot be used here, and how to change that; None where it can."""
    try:
        importlib.import_module("pipeline.mining.backends.native._native")
    except ImportError as error:
        return (
            f"the compiled scan is not built here ({error}): install a C compiler and Python's headers, then install "
            "Motherlode again"
        )
    return None


def import_native() -> ModuleType:
    """The compiled module.

    Raises:
        InputError: It was not built when Motherlode was installed.
    """
    if reason := unavailable_reason():
        raise InputError(reason)
    return importlib.import_module("pipeline.mining.backends.native._native")


def all_kernels() -> list[Kernel]:
    """The table of kernels, of all instruction sets, slowest set first.

    Raises:
        InputError: The compiled scan is missing.
    """
    return [Kernel(number, *entry) for number, entry in enumerate(import_native().kernels())]


def instruction_sets() -> tuple[InstructionSet, ...]:
    """What this processor offers to the scan, slowest first.

    Raises:
        InputError: The compiled scan is missing.
    """
    native = import_native()
    names = dict.fromkeys(kernel.instruction_set for kernel in all_kernels())
    return tuple(name for name in names if native.supports(name))
