"""The key figures at the head of a page."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.inspection.report.document import percent
from pipeline.inspection.report.generations import Lineage
from pipeline.inspection.report.history import Training

MAX_MERITS = 3


@dataclass(frozen=True)
class Tile:
    """A key figure.

    Attributes:
        name: What it is.
        value: As it is shown.
        beside: What it is to be held against.
    """

    name: str
    value: str
    beside: str


def tiles(
    lineage: Lineage, training: Training, evaluations: Mapping[int, Mapping[str, float]], num_dims: int | None
) -> list[Tile]:
    """Key figures of the newest generation, each beside the one before.

    Args:
        lineage: The generations.
        training: For the share of the listed triplets that still teach.
        evaluations: Figures by step.
        num_dims: The embeddings' dimension, where it is known.
    """
    last, before = lineage.seen[-1], lineage.seen[-2] if len(lineage.seen) > 1 else None
    manifest = last.manifest
    found = [
        Tile("triplets", f"{manifest.num_triplets:,}", f"was {before.manifest.num_triplets:,}" if before else ""),
        Tile("yield of the band", percent(last.band_yield), f"was {percent(before.band_yield)}" if before else ""),
        Tile("spread", f"{manifest.spread:.3f}", f"was {before.manifest.spread:.3f}" if before else ""),
        Tile(
            "effective rank" + (f" of {num_dims}" if num_dims is not None else ""),
            f"{manifest.effective_rank:.1f}",
            f"was {before.manifest.effective_rank:.1f}" if before else "",
        ),
    ]
    active = training.metric("listed_active_share")
    if active:
        found.append(Tile("listed, still active", percent(active[-1][1]), f"at step {active[-1][0]:,.0f}"))
    for name in merits(evaluations)[:MAX_MERITS]:
        measured = [(step, figures[name]) for step, figures in evaluations.items() if name in figures]
        beside = f"step {measured[-1][0]:,}" + (f", was {measured[-2][1]:.3f}" if measured[1:] else "")
        found.append(Tile(merit_words(name), f"{measured[-1][1]:.3f}", beside))
    return found


def merits(evaluations: Mapping[int, Mapping[str, float]]) -> list[str]:
    """The figures of merit that a page shows: recall@1, and VAL at each FAR that was asked for."""
    names = sorted({name for figures in evaluations.values() for name in figures})
    return [name for name in names if name == "recall_at_1"] + [
        name for name in names if name.startswith("val_at_far_")
    ]


def merit_words(name: str) -> str:
    """A figure of merit as people call it: ``val_at_far_1e-03`` is "VAL at FAR 1e-3"."""
    if name.startswith("val_at_far_"):
        mantissa, _, exponent = name.removeprefix("val_at_far_").partition("e")
        return f"VAL at FAR {mantissa}" + (f"e{int(exponent)}" if exponent.lstrip("+-").isdigit() else "")
    return name.replace("_at_", "@").replace("_", " ")
