"""The benchmarks that there are, and what is done with their reports."""

import json
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from pipeline.benchmark.embed import benchmark_embedding, embedding_table
from pipeline.benchmark.plans import EmbedPlan, MinePlan, Plan, TrainPlan
from pipeline.benchmark.results.chart import draw_mining
from pipeline.benchmark.results.report import benchmark_mining, mining_table
from pipeline.benchmark.train import benchmark_training, training_table
from pipeline.config import RunConfig
from pipeline.progress import log, log_table


class Kind(NamedTuple):
    """A benchmark: what it is asked for, what measures, and what shows its report as a table and a PNG."""

    plan: type[Plan]
    measure: Callable[[RunConfig, Any], dict[str, Any]]
    table: Callable[[dict[str, Any]], Table]
    draw: Callable[[dict[str, Any]], bytes] | None = None


KINDS = {
    "mine": Kind(MinePlan, benchmark_mining, mining_table, draw_mining),
    "train": Kind(TrainPlan, benchmark_training, training_table),
    "embed": Kind(EmbedPlan, benchmark_embedding, embedding_table),
}

FLAGS: dict[str, Field[Any]] = {field.name: field for kind in KINDS.values() for field in fields(kind.plan)}
"""The fields of all plans by name."""


def takers(flag: str) -> list[str]:
    """The kinds whose plan has this field."""
    return [what for what, kind in KINDS.items() if flag in {field.name for field in fields(kind.plan)}]


def run_benchmark(what: str, config: RunConfig, plan: Plan, output: Path) -> dict[str, Any]:
    """Measures, writes ``<what>.json`` (and ``<what>.png``, where it is drawn), prints a table, and returns the report.

    Raises:
        InputError: A number makes no sense, or something that is measured is missing or cannot be had with the config.
        PipelineError: An exact backend disagrees with brute force.
    """
    plan.check()
    kind, path = KINDS[what], output / f"{what}.json"
    report = kind.measure(config, plan)
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    written = str(path)
    if kind.draw is not None:
        picture = path.with_suffix(".png")
        picture.write_bytes(kind.draw(report))
        written += f", {picture}"
    log_table(kind.table(report))
    log(f"written: {written}")
    return report
