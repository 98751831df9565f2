"""Results as a comparison would give them, invented."""

from collections.abc import Sequence

import numpy as np

from pipeline.studies.compare.results import ArmResult, CurvePoint

Values = Sequence[float]


def curve(values: Values, images: Sequence[int] | None = None, refresh_s: float = 0.0) -> tuple[CurvePoint, ...]:
    """recall@1 as given, one point every 100 images; 1 second of training and ``refresh_s`` of refreshing a point."""
    places = images or range(0, 100 * len(values), 100)
    return tuple(
        CurvePoint(step=i, images=place, metrics={"recall_at_1": value}, train_s=i, refresh_s=i * refresh_s)
        for i, (place, value) in enumerate(zip(places, values, strict=True))
    )


def result(arm: str, seed: int, values: Values, refresh_s: float = 0.0, **facts: float) -> ArmResult:
    return ArmResult(arm=arm, seed=seed, digest="d", curve=curve(values, refresh_s=refresh_s), facts=facts)


def learned(arms: Sequence[str], seeds: Sequence[int], gain: float = 0.02) -> list[ArmResult]:
    """Smooth curves of two metrics; each arm ends ``gain`` above the one before it, give or take a seed's noise."""
    results = []
    for place, arm in enumerate(arms):
        for seed in seeds:
            top = 0.8 + gain * place + np.random.default_rng([place, seed]).normal(0, 0.002)
            points = []
            for i in range(9):
                recall = float(top * (1 - 0.5**i))
                metrics = {"recall_at_1": recall, "roc_auc": 0.5 + recall / 2}
                points.append(CurvePoint(step=i, images=1_000 * i, metrics=metrics, train_s=i, refresh_s=i / 4))
            results.append(ArmResult(arm=arm, seed=seed, digest="d", curve=tuple(points), facts={}))
    return results
