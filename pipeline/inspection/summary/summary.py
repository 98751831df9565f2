"""The summary of a generation: its triplets and distances, its quarantine, its staleness."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.config import BandConfig
from pipeline.encoders.checkpoints import checkpoints
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.summary.statistics import GenerationStatistics, Histogram, collect_statistics
from pipeline.mining.band import MODES
from pipeline.storage.tombstones import read_history

QUANTILES = {"p0": 0.0, "p1": 0.01, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99,
             "p100": 1.0}  # fmt: skip
HUB_SHARE = 0.01
"""Share of the training examples that counts as the most frequent negatives."""


def summarise(generation: OpenGeneration, num_hubs: int) -> dict[str, Any]:
    """Summarises the triplets, the manifests and the quarantine, as a JSON-able document.

    Args:
        generation: The generation.
        num_hubs: Most frequent negatives to list.

    Raises:
        CorruptDataError: A part is not what was published.
        InputError: The generation was removed meanwhile.
    """
    manifest, statistics = generation.manifest, collect_statistics(generation)
    num_answered = manifest.num_pairs - manifest.num_pairs_without_negative
    return {
        "run": generation.workspace.run,
        "generation": manifest.number,
        "created_at": manifest.created_at,
        "checkpoint_step": manifest.checkpoint_step,
        "corpus": generation.corpus.manifest.number,
        "num_triplets": statistics.num_triplets,
        "kinds": statistics.kinds,
        "band": {
            "words": format_band(manifest.mining.band),
            "margin": manifest.mining.band.margin,
            "num_pairs": manifest.num_pairs,
            "num_pairs_answered": num_answered,
            "yield": _ratio(num_answered, manifest.num_pairs),
        },
        "quantiles": {
            "d_ap": _quantiles(statistics.d_ap),
            "d_an": _quantiles(statistics.d_an),
            "margin": _quantiles(statistics.margin),
        },
        "anchors": {
            "num": statistics.num_anchors,
            "triplets": _per_anchor(statistics.num_triplets, statistics.num_anchors, statistics.triplets_per_anchor),
            "positives": _per_anchor(statistics.num_pairs, statistics.num_anchors, statistics.positives_per_anchor),
        },
        "coverage": _coverage(generation, statistics),
        "hubs": _hubs(generation, statistics, num_hubs),
        "quarantine": _quarantine_counts(generation),
        "audit": _audit_figures(generation),
        "storage": {
            "num_shards": statistics.num_shards,
            "num_bytes": statistics.num_bytes,
            "bytes_per_triplet": _ratio(statistics.num_bytes, statistics.num_triplets),
            "seconds": statistics.seconds,
            "triplets_per_s": _ratio(statistics.num_triplets, statistics.seconds),
        },
        "trained": staleness_history(generation),
    }


def format_band(band: BandConfig) -> str:
    """The condition on a band's negatives, as an inequality."""
    return f"{band.mode}: {MODES[band.mode].condition(band)}"


def staleness_history(generation: OpenGeneration) -> list[dict[str, Any]]:
    """The shares of triplets still active and still in band, by step, as the generation's trainers measured them."""
    number = generation.manifest.number
    history_rows = []
    for checkpoint in read_history(checkpoints(generation.workspace)):
        if checkpoint.step <= generation.manifest.checkpoint_step:
            continue
        if checkpoint.generation is not None and checkpoint.generation > number:
            break  # a trainer moves to newer generations only
        shares = {
            name: checkpoint.metrics[name]
            for name in ("listed_active_share", "listed_in_band_share")
            if math.isfinite(checkpoint.metrics.get(name, math.nan))
        }
        if checkpoint.generation == number and shares:
            history_rows.append({"step": checkpoint.step, **shares})
    return history_rows


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _quantiles(histogram: Histogram) -> dict[str, float | None]:
    values = {name: histogram.quantile(q) for name, q in QUANTILES.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _per_anchor(num: int, num_anchors: int, counts: npt.NDArray[np.int64]) -> dict[str, float | None]:
    """Mean, median and most; ``counts[n]`` is the number of anchors with n."""
    if not num_anchors:
        return {"mean": None, "median": None, "most": None}
    median = int(np.searchsorted(np.cumsum(counts), num_anchors / 2))
    return {"mean": num / num_anchors, "median": median, "most": int(np.flatnonzero(counts)[-1])}


def _coverage(generation: OpenGeneration, statistics: GenerationStatistics) -> dict[str, Any]:
    corpus = generation.corpus
    train_labels = corpus.labels[~corpus.is_test]
    num_labels = int(np.count_nonzero(np.bincount(train_labels)))
    return {
        "num_labels": statistics.num_labels,
        "num_train_labels": num_labels,
        "label_share": _ratio(statistics.num_labels, num_labels),
        "num_examples": statistics.num_examples_used,
        "num_train_examples": len(train_labels),
        "example_share": _ratio(statistics.num_examples_used, len(train_labels)),
    }


def _hubs(generation: OpenGeneration, statistics: GenerationStatistics, num: int) -> dict[str, Any]:
    corpus = generation.corpus
    candidates = statistics.negative_counts_N[~corpus.is_test]
    num_top = math.ceil(len(candidates) * HUB_SHARE)
    top = np.partition(candidates, len(candidates) - num_top)[len(candidates) - num_top :]
    return {
        "top_share": HUB_SHARE,
        "num_top": num_top,
        "share_held_by_top": _ratio(int(top.sum()), statistics.num_triplets),
        "examples": [
            {
                "example_id": example,
                "label": corpus.label_names[corpus.labels[example]],
                "num_triplets": count,
                "share": count / statistics.num_triplets,
            }
            for example, count in statistics.hubs(num)
        ],
    }


def _audit_figures(generation: OpenGeneration) -> dict[str, float | None]:
    manifest = generation.manifest
    figures = {name: getattr(manifest, name) for name in ("spread", "effective_rank", "agreement")} | manifest.audit
    finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    return finite | {"num_pairs_verified": manifest.num_pairs_verified}


def _quarantine_counts(generation: OpenGeneration) -> dict[str, dict[str, int]]:
    """By reason: how many entries there are, and how many of them were excluded from mining."""
    table = generation.reader.quarantine()
    excluded = table.filter(pc.field("excluded"))["reason"].value_counts().to_pylist()
    num_excluded = {row["values"]: row["counts"] for row in excluded}
    return {
        reason: {"num": num, "num_excluded": num_excluded.get(reason, 0)}
        for reason, num in generation.manifest.quarantined.items()
    }
