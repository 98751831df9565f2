"""Figures of merit against a quantity, as a table: strength of a perturbation, embedding size, and so on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pipeline.evaluation.metric_names import metric_label


class HasMetrics(Protocol):
    """A result with metrics, such as a ``VerificationReport``."""

    def metrics(self) -> dict[str, float]:
        """Figures of merit by name."""

    def standard_errors(self) -> dict[str, float]:
        """Of those that have one, by the same names."""


@dataclass(frozen=True)
class SweepRow:
    """Figures of merit by name at one value of the quantity, and the standard errors of those that have one."""

    value: float
    metrics: Mapping[str, float]
    standard_errors: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        errors = {"standard_errors": dict(self.standard_errors)} if self.standard_errors else {}
        return {"value": self.value, **self.metrics, **errors}


@dataclass(frozen=True)
class Sweep:
    """Figures of merit over the values of one quantity.

    Attributes:
        name: In the names of metrics: ``jpeg``.
        title: For people: "JPEG compression".
        label: What a value is: "quality".
        rows: A row for each value, ascending.
        unperturbed: The figures without any perturbation, by metric; None for a quantity that perturbs nothing.
        is_log: Whether a plot takes a logarithmic axis.
    """

    name: str
    title: str
    label: str
    rows: tuple[SweepRow, ...]
    unperturbed: Mapping[str, float] | None = None
    is_log: bool = True

    def retained_share(self, metric: str) -> float | None:
        """The mean over the values, as a share of the unperturbed figure; None where there is none, or it is 0."""
        if self.unperturbed is None or self.unperturbed[metric] == 0:
            return None
        return float(np.mean([row.metrics[metric] for row in self.rows])) / self.unperturbed[metric]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        unperturbed = {} if self.unperturbed is None else {"unspoilt": dict(self.unperturbed)}
        return {"title": self.title, "label": self.label, "rows": [row.to_dict() for row in self.rows], **unperturbed}

    def to_markdown(self) -> str:
        """A table with a row for each value, the unperturbed one last; a missing figure leaves its cell empty."""
        metrics = list(dict.fromkeys(metric for row in self.rows for metric in row.metrics))
        head = " | ".join([self.label, *map(metric_label, metrics)])
        lines = [f"### {self.title}", "", f"| {head} |", "|---" + "|---:" * len(metrics) + "|"]
        named = [(f"{row.value:,.0f}" if row.value.is_integer() else value_name(row.value), row) for row in self.rows]
        if self.unperturbed is not None:
            named.append(("unspoilt", SweepRow(np.nan, self.unperturbed)))
        for name, row in named:
            lines.append(f"| {name} | {' | '.join(_cell(row, metric) for metric in metrics)} |")
        return "\n".join(lines) + "\n"


def tabulate_runs(
    name: str, title: str, label: str, results: Mapping[int, HasMetrics] | Mapping[float, HasMetrics]
) -> Sweep:
    """Several runs against the quantity in which they differ, as in FaceNet's tables 5 and 6.

    Args:
        name: Such as ``embedding_dim``.
        title: Such as "Embedding size".
        label: Such as "dimensions".
        results: By value, in any order.
    """
    rows = [SweepRow(float(value), result.metrics(), result.standard_errors()) for value, result in results.items()]
    return Sweep(name, title, label, tuple(sorted(rows, key=lambda row: row.value)))


def value_name(value: float) -> str:
    """A value in a name or a table: 10.0 is ``10``, 0.05 is ``0.05``; different for different values."""
    return np.format_float_positional(value, trim="-")


def _cell(row: SweepRow, metric: str) -> str:
    if metric not in row.metrics:
        return ""
    if metric == "roc_auc":  # per cent would show too few digits of it
        return f"{row.metrics[metric]:.4f}"
    error = f" ± {100 * row.standard_errors[metric]:.1f}" if metric in row.standard_errors else ""
    return f"{100 * row.metrics[metric]:.1f} %{error}"
