"""Sets of labels: VAL with a standard error over disjoint sets, as FaceNet reports it over five (section 4)."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, Int64Array
from pipeline.config import EvaluationConfig
from pipeline.errors import InputError
from pipeline.evaluation.metric_names import val_name
from pipeline.evaluation.verification.protocol import OperatingPoint, Verification, evaluate_pairs


@dataclass(frozen=True)
class RateOverSplits:
    """VAL at one false accept rate, in each of several splits.

    Attributes:
        far: The requested false accept rate.
        points: Threshold, VAL and actual FAR of each split.
        is_resolved: Of each split, whether the pairs that gave its threshold hold enough different ones for this rate.
            Where not, none of those may be accepted, and VAL is that at a FAR of 0.
    """

    far: float
    points: tuple[OperatingPoint, ...]
    is_resolved: tuple[bool, ...]

    @property
    def val(self) -> float:
        """The mean over the splits."""
        return float(np.mean([point.val for point in self.points]))

    @property
    def standard_error(self) -> float | None:
        """Of the mean; None for a single split."""
        return standard_error([point.val for point in self.points])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        splits = [
            dataclasses.asdict(point) | {"is_resolved": resolved}
            for point, resolved in zip(self.points, self.is_resolved, strict=True)
        ]
        return {
            "far": self.far,
            "val": self.val,
            "standard_error": self.standard_error,
            "actual_far": float(np.mean([point.actual_far for point in self.points])),
            "splits": splits,
        }


@dataclass(frozen=True)
class SplitVerification:
    """Verification in disjoint sets of labels.

    Attributes:
        num_labels: Labels of each split.
        num_same_pairs: Same-label pairs that were measured in each split.
        num_different_pairs: Different-label pairs that were measured in each split.
        rates: VAL at each requested false accept rate, in that order.
    """

    num_labels: tuple[int, ...]
    num_same_pairs: tuple[int, ...]
    num_different_pairs: tuple[int, ...]
    rates: tuple[RateOverSplits, ...]

    def metrics(self) -> dict[str, float]:
        """``split_val_at_far_1e-03`` and so on: means over the splits."""
        return {f"split_{val_name(rate.far)}": rate.val for rate in self.rates}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, their standard errors, and what each split gave."""
        return self.metrics() | {
            "num_splits": len(self.num_labels),
            "num_labels": list(self.num_labels),
            "num_same_pairs": list(self.num_same_pairs),
            "num_different_pairs": list(self.num_different_pairs),
            "rates": [rate.to_dict() for rate in self.rates],
        }


def evaluate_splits(
    embeddings_ND: Float32Array,
    labels_N: npt.ArrayLike,
    config: EvaluationConfig,
    seed: int,
    others_ND: Float32Array | None = None,
) -> SplitVerification:
    """Evaluates verification in each of several disjoint sets of labels, each with a threshold of its own.

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        config: False accept rates, the number of splits, and how many pairs of a kind are sampled in each.
        seed: Deals the labels to the splits, and samples the pairs.
        others_ND: (N, D) float32, the same examples as another network embeds them, see ``evaluate_pairs``.

    Raises:
        InputError: A split has no same or no different pair, or the embeddings cannot be compared.
    """
    labels = np.asarray(labels_N)
    verifications: list[Verification] = []
    num_labels: list[int] = []
    for split, dealt in enumerate(_deal(labels, config.num_splits, seed), start=1):
        chosen = np.isin(labels, dealt)
        if len(dealt) < 2 or chosen.sum() == len(dealt):
            raise InputError(
                f"split {split} of {config.num_splits} has {len(dealt)} labels and {chosen.sum()} examples, but needs "
                "two labels, one with two examples: lower evaluation.num_splits, or raise corpus.test_fraction and "
                "prepare the corpus again"
            )
        others = None if others_ND is None else others_ND[chosen]
        verifications.append(evaluate_pairs(embeddings_ND[chosen], labels[chosen], config.max_pairs, seed, others))
        num_labels.append(len(dealt))
    rates = tuple(
        RateOverSplits(
            far,
            tuple(split.at_far(far) for split in verifications),
            tuple(split.resolves(far) for split in verifications),
        )
        for far in config.fars
    )
    return SplitVerification(
        num_labels=tuple(num_labels),
        num_same_pairs=tuple(len(split.same) for split in verifications),
        num_different_pairs=tuple(len(split.different) for split in verifications),
        rates=rates,
    )


def sample_labels(
    labels: npt.NDArray[np.generic], counts: Int64Array, max_examples: int, rng: np.random.Generator
) -> npt.NDArray[np.generic]:
    """All distinct labels, or two or more of them whose counts of examples just reach ``max_examples``."""
    order = rng.permutation(len(labels))
    num_sampled = int(np.searchsorted(np.cumsum(counts[order]), max_examples)) + 1
    return labels[order[: max(2, num_sampled)]]


def standard_error(values: Sequence[float]) -> float | None:
    """The standard deviation / √n, with n - 1 degrees of freedom; None for a single value."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def _deal(labels: npt.NDArray[np.generic], num_splits: int, seed: int) -> list[Int64Array]:
    """Deals the distinct labels in turn, in an order by seed, those with two examples or more first.

    So all splits have as many of either as they can, to one: none lacks same pairs by chance.
    """
    distinct, counts = np.unique(labels, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(distinct))
    order = shuffled[np.argsort(counts[shuffled] < 2, kind="stable")]
    return [distinct[order[split::num_splits]] for split in range(num_splits)]
