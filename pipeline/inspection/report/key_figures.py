"""The key figures at the top of a page."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.evaluation.metric_names import metric_label
from pipeline.inspection.report.document import percent
from pipeline.inspection.report.generations import GenerationOverview, RecentGenerations
from pipeline.inspection.report.history import Evaluations, TrainingHistory

MAX_METRICS = 3


@dataclass(frozen=True)
class KeyFigure:
    """A figure under its name, formatted, and what it is compared with: the figure before, or its step."""

    name: str
    value: str
    comparison: str


def key_figures(
    recent: RecentGenerations, training: TrainingHistory, evaluations: Evaluations, num_dims: int | None
) -> list[KeyFigure]:
    """Key figures of the newest generation, each compared with the generation before.

    Args:
        recent: The generations.
        training: For the share of the listed triplets that are still active.
        evaluations: Figures by step.
        num_dims: The embeddings' dimension, where it is known.
    """
    last, before = recent.overviews[-1], recent.overviews[-2] if len(recent.overviews) > 1 else None

    def compared(name: str, format_figure: Callable[[GenerationOverview], str]) -> KeyFigure:
        return KeyFigure(name, format_figure(last), f"was {format_figure(before)}" if before else "")

    figures = [
        compared("triplets", lambda overview: f"{overview.manifest.num_triplets:,}"),
        compared("yield of the band", lambda overview: percent(overview.band_yield)),
        compared("spread", lambda overview: f"{overview.manifest.spread:.3f}"),
        compared(
            "effective rank" + (f" of {num_dims}" if num_dims is not None else ""),
            lambda overview: f"{overview.manifest.effective_rank:.1f}",
        ),
    ]
    active = training.metric("listed_active_share")
    if active:
        figures.append(KeyFigure("listed, still active", percent(active[-1][1]), f"at step {active[-1][0]:,.0f}"))
    for name in headline_metrics(evaluations)[:MAX_METRICS]:
        measured = [(step, metrics[name]) for step, metrics in evaluations.items() if name in metrics]
        comparison = f"step {measured[-1][0]:,}" + (f", was {measured[-2][1]:.3f}" if measured[1:] else "")
        figures.append(KeyFigure(metric_label(name), f"{measured[-1][1]:.3f}", comparison))
    return figures


def headline_metrics(evaluations: Evaluations) -> list[str]:
    """Names of the figures of merit that a page shows: recall@1, and VAL at each FAR."""
    names = sorted({name for metrics in evaluations.values() for name in metrics})
    return [name for name in names if name == "recall_at_1" or name.startswith("val_at_far_")]
