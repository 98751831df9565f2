"""A generation on one page: what was mined, how it is spread, what was left out, how it has aged."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.config import BandConfig
from pipeline.encoders.checkpoints import checkpoints
from pipeline.inspection.inspected import Inspected
from pipeline.inspection.summary.survey import Histogram, Survey, survey
from pipeline.storage.tombstones import read_history

QUANTILES = {"p0": 0.0, "p1": 0.01, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99,
             "p100": 1.0}  # fmt: skip
HUB_SHARE = 0.01
"""Of the training examples: those that are negatives most often."""


def summarise(inspected: Inspected, num_hubs: int) -> dict[str, Any]:
    """All that one pass over the triplets, the manifests and the quarantine say; JSON-able.

    Args:
        inspected: The generation.
        num_hubs: Most frequent negatives to list.

    Raises:
        CorruptDataError: A part is not what was published.
        InputError: The generation was removed meanwhile.
    """
    manifest, found = inspected.manifest, survey(inspected)
    num_answered = manifest.num_pairs - manifest.num_pairs_without_negative
    return {
        "run": inspected.workspace.run,
        "generation": manifest.number,
        "created_at": manifest.created_at,
        "checkpoint_step": manifest.checkpoint_step,
        "corpus": inspected.corpus.manifest.number,
        "num_triplets": found.num_triplets,
        "kinds": found.kinds,
        "band": {
            "words": band_words(manifest.mining.band),
            "margin": manifest.mining.band.margin,
            "num_pairs": manifest.num_pairs,
            "num_pairs_answered": num_answered,
            "yield": _share(num_answered, manifest.num_pairs),
        },
        "quantiles": {
            "d_ap": _quantiles(found.d_ap),
            "d_an": _quantiles(found.d_an),
            "margin": _quantiles(found.margin),
        },
        "anchors": {
            "num": found.num_anchors,
            "triplets": _per_anchor(found.num_triplets, found.num_anchors, found.triplets_per_anchor),
            "positives": _per_anchor(found.num_pairs, found.num_anchors, found.positives_per_anchor),
        },
        "coverage": _coverage(inspected, found),
        "hubs": _hubs(inspected, found, num_hubs),
        "quarantine": _quarantine(inspected),
        "audit": _audit(inspected),
        "storage": {
            "num_shards": found.num_shards,
            "num_bytes": found.num_bytes,
            "bytes_per_triplet": _share(found.num_bytes, found.num_triplets),
            "seconds": found.seconds,
            "triplets_per_s": _share(found.num_triplets, found.seconds),
        },
        "trained": trained_on(inspected),
    }


def band_words(band: BandConfig) -> str:
    """Which negatives a band wants, as an inequality."""
    match band.mode:
        case "hard":
            return "hard: the nearest d_an, whatever it is"
        case "semi_hard":
            return f"semi_hard: d_ap < d_an < d_ap + {band.margin:g}"
        case "positive_aware":
            return f"positive_aware: d_an > {band.ratio:g} · d_ap + {band.offset:g}"
        case "range":
            return f"range: {band.low:g} < d_an < {band.high:g}"


def trained_on(inspected: Inspected) -> list[dict[str, Any]]:
    """What was left of the generation, by step, as trainers measured it that had pinned it; may be empty."""
    number = inspected.manifest.number
    measured = []
    for checkpoint in read_history(checkpoints(inspected.workspace)):
        if checkpoint.step <= inspected.manifest.checkpoint_step:
            continue
        if checkpoint.generation is not None and checkpoint.generation > number:
            break  # a trainer goes on to newer generations only
        shares = {
            name: checkpoint.metrics[name]
            for name in ("listed_active_share", "listed_in_band_share")
            if math.isfinite(checkpoint.metrics.get(name, math.nan))
        }
        if checkpoint.generation == number and shares:
            measured.append({"step": checkpoint.step, **shares})
    return measured


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _quantiles(histogram: Histogram) -> dict[str, float | None]:
    values = {name: histogram.quantile(q) for name, q in QUANTILES.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _per_anchor(num: int, num_anchors: int, counts: npt.NDArray[np.int64]) -> dict[str, float | None]:
    """Mean, median and most; ``counts`` at index n: anchors with n."""
    if not num_anchors:
        return {"mean": None, "median": None, "most": None}
    median = int(np.searchsorted(np.cumsum(counts), num_anchors / 2))
    return {"mean": num / num_anchors, "median": median, "most": int(np.flatnonzero(counts)[-1])}


def _coverage(inspected: Inspected, found: Survey) -> dict[str, Any]:
    corpus = inspected.corpus
    train_labels = corpus.labels[~corpus.is_test]
    num_labels = int(np.count_nonzero(np.bincount(train_labels)))
    return {
        "num_labels": found.num_labels,
        "num_train_labels": num_labels,
        "label_share": _share(found.num_labels, num_labels),
        "num_examples": found.num_examples_used,
        "num_train_examples": len(train_labels),
        "example_share": _share(found.num_examples_used, len(train_labels)),
    }


def _hubs(inspected: Inspected, found: Survey, num: int) -> dict[str, Any]:
    corpus = inspected.corpus
    candidates = found.negative_counts_N[~corpus.is_test]
    num_top = math.ceil(len(candidates) * HUB_SHARE)
    top = np.partition(candidates, len(candidates) - num_top)[len(candidates) - num_top :]
    return {
        "top_share": HUB_SHARE,
        "num_top": num_top,
        "share_held_by_top": _share(int(top.sum()), found.num_triplets),
        "examples": [
            {
                "example_id": example,
                "label": corpus.label_names[corpus.labels[example]],
                "num_triplets": count,
                "share": count / found.num_triplets,
            }
            for example, count in found.hubs(num)
        ],
    }


def _audit(inspected: Inspected) -> dict[str, float | None]:
    manifest = inspected.manifest
    figures = {name: getattr(manifest, name) for name in ("spread", "effective_rank", "agreement")} | manifest.audit
    finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    return finite | {"num_pairs_verified": manifest.num_pairs_verified}


def _quarantine(inspected: Inspected) -> dict[str, dict[str, int]]:
    """By reason: how many were found, and how many of them mining did without."""
    table = inspected.generation.quarantine()
    excluded = table.filter(pc.field("excluded"))["reason"].value_counts().to_pylist()
    num_excluded = {one["values"]: one["counts"] for one in excluded}
    return {
        reason: {"num": num, "num_excluded": num_excluded.get(reason, 0)}
        for reason, num in inspected.manifest.quarantined.items()
    }
