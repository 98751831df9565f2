"""The protocol "verification": FaceNet's VAL at FARs, over all pairs, and with a standard error over splits."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import EvaluationConfig
from pipeline.errors import InputError
from pipeline.evaluation.metric_names import val_name
from pipeline.evaluation.splits import SplitVerification, evaluate_splits
from pipeline.evaluation.verification.protocol import OperatingPoint, Verification, evaluate_pairs


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """The figures of merit of a checkpoint in verification.

    Attributes:
        verification: The distances of all measured pairs.
        points: VAL and threshold at each false accept rate of the config.
        splits: The same over disjoint sets of labels; None where there are too few for it.
        no_splits_reason: Why there are no splits; empty where there are.
    """

    verification: Verification
    points: tuple[OperatingPoint, ...]
    splits: SplitVerification | None
    no_splits_reason: str

    def metrics(self) -> dict[str, float]:
        """``val_at_far_1e-03`` and so on, ``roc_auc``, ``eer``, and ``pair_accuracy`` at the best threshold."""
        verification = self.verification
        vals = {val_name(point.far): point.val for point in self.points}
        accuracy = verification.accuracy(verification.best_threshold())
        return {"roc_auc": verification.roc_auc(), "eer": verification.eer().rate, "pair_accuracy": accuracy} | vals

    def standard_errors(self) -> dict[str, float]:
        """Of the metrics that have one, over the splits."""
        errors = {} if self.splits is None else {rate.far: rate.standard_error for rate in self.splits.rates}
        return {val_name(far): error for far, error in errors.items() if error is not None}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        verification = self.verification
        points = [
            asdict(point)
            | {
                "threshold": point.threshold if np.isfinite(point.threshold) else None,
                "true_accepts": verification.true_accepts(point.threshold),
                "false_accepts": verification.false_accepts(point.threshold),
                "is_resolved": verification.resolves(point.far),
            }
            for point in self.points
        ]
        return self.metrics() | {
            "num_same_pairs": len(verification.same),
            "num_different_pairs": len(verification.different),
            "operating_points": points,
            "standard_errors": self.standard_errors(),
            "splits": None if self.splits is None else self.splits.to_dict(),
            "why_no_splits": self.no_splits_reason,
        }


def evaluate_verification(
    embeddings_ND: npt.NDArray[np.float32],
    labels_N: npt.ArrayLike,
    config: EvaluationConfig,
    seed: int,
    others_ND: npt.NDArray[np.float32] | None = None,
) -> VerificationReport:
    """Evaluates all pairs, and ``config.num_splits`` disjoint sets of labels where these have enough pairs.

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        config: Rates, splits, and how many pairs are sampled.
        seed: Seeds the samples.
        others_ND: (N, D) float32, the same examples as another network embeds them, see ``evaluate_pairs``.

    Raises:
        InputError: There is no pair of a kind, or the embeddings cannot be compared.
    """
    verification = evaluate_pairs(embeddings_ND, labels_N, config.max_pairs, seed, others_ND)
    splits, reason = None, ""
    try:
        splits = evaluate_splits(embeddings_ND, labels_N, config, seed, others_ND)
    except InputError as error:  # the pairs as a whole could be measured
        reason = str(error)
    return VerificationReport(verification, tuple(verification.at_far(far) for far in config.fars), splits, reason)
