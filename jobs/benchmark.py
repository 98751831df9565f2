"""Benchmark: measure mining, training or encoding here against peers and this machine's own limits, in one run.

mine: the search, against FAISS, torch and others, checked by brute force; train: images a second and what a step's time
goes into, against a bare loop; embed: images a second, against the bare forward loop.
"""

import argparse
from pathlib import Path
from typing import Any, get_args

from jobs.cli import Report, run_job
from pipeline.benchmark.kinds import FLAGS, KINDS, run_benchmark, takers
from pipeline.config import RunConfig
from pipeline.errors import InputError


def run(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Measures, and writes a JSON document (and, of mining, a chart)."""
    given: dict[str, Any] = {}
    for name, value in vars(flags).items():
        if name in FLAGS:
            if flags.what not in takers(name):
                raise InputError(f"--{name.replace('_', '-')} is for {' and '.join(takers(name))}, not {flags.what}")
            given[name] = tuple(value) if isinstance(value, list) else value
    return run_benchmark(flags.what, config, KINDS[flags.what].plan(**given), flags.output)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags: the fields of the plans."""
    parser.add_argument("what", choices=list(KINDS), help="what to measure")
    for name, field in FLAGS.items():
        values = field.default if isinstance(field.default, tuple) else (field.default,)
        default = f" (default {' '.join(map(str, values))})" if values and field.default is not None else ""
        kind = (*get_args(field.type), field.type)[0]
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            metavar=name.upper() if kind is str else "N",
            nargs=field.metadata["nargs"],
            default=argparse.SUPPRESS,
            help=f"{', '.join(takers(name))}: {field.metadata['help']}{default}",
        )
    parser.add_argument("--output", type=Path, default=Path("build/benchmark"), help="folder for what is written")


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
