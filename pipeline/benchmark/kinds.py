"""The benchmarks that there are."""

from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from pipeline.benchmark.embed import benchmark_embedding
from pipeline.benchmark.plans import EmbedPlan, MinePlan, Plan, TrainPlan
from pipeline.benchmark.results.report import benchmark_mining
from pipeline.benchmark.train import benchmark_training
from pipeline.config import RunConfig

KINDS: dict[str, tuple[type[Plan], Callable[[RunConfig, Any, Path], dict[str, Any]]]] = {
    "mine": (MinePlan, benchmark_mining),
    "train": (TrainPlan, benchmark_training),
    "embed": (EmbedPlan, benchmark_embedding),
}
"""What is asked for, and what answers."""

FLAGS: dict[str, Field[Any]] = {field.name: field for plan, _ in KINDS.values() for field in fields(plan)}
"""The fields of all plans by name."""


def takers(flag: str) -> list[str]:
    """The kinds whose plan has this field."""
    return [what for what, (plan, _) in KINDS.items() if flag in {field.name for field in fields(plan)}]
