"""The protocol "verification": FaceNet's VAL at FARs, over all pairs, and with a standard error over splits."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import EvaluationConfig
from pipeline.errors import InputError
from pipeline.evaluation.splits import SplitVerification, verify_splits
from pipeline.evaluation.verification.protocol import OperatingPoint, Verification, far_name, verify


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """What a checkpoint achieves in verification.

    Attributes:
        verification: The distances of all measured pairs.
        points: VAL and threshold at each false accept rate of the config.
        splits: The same over disjoint sets of labels; None where there are too few for it.
        why_no_splits: The reason, for a person; empty where there are splits.
    """

    verification: Verification
    points: tuple[OperatingPoint, ...]
    splits: SplitVerification | None
    why_no_splits: str

    def metrics(self) -> dict[str, float]:
        """``val_at_far_1e-03`` and so on, ``roc_auc``, ``eer``, and ``pair_accuracy`` at the best threshold."""
        found = self.verification
        vals = {f"val_at_far_{far_name(point.far)}": point.val for point in self.points}
        accuracy = found.accuracy(found.best_threshold())
        return {"roc_auc": found.roc_auc(), "eer": found.eer().rate, "pair_accuracy": accuracy} | vals

    def standard_errors(self) -> dict[str, float]:
        """Of the metrics that have one, over the splits."""
        errors = {} if self.splits is None else {rate.far: rate.standard_error for rate in self.splits.rates}
        return {f"val_at_far_{far_name(far)}": error for far, error in errors.items() if error is not None}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        found = self.verification
        points = [
            asdict(point)
            | {
                "threshold": point.threshold if np.isfinite(point.threshold) else None,
                "true_accepts": found.true_accepts(point.threshold),
                "false_accepts": found.false_accepts(point.threshold),
                "is_resolved": found.resolves(point.far),
            }
            for point in self.points
        ]
        return self.metrics() | {
            "num_same_pairs": len(found.same),
            "num_different_pairs": len(found.different),
            "operating_points": points,
            "standard_errors": self.standard_errors(),
            "splits": None if self.splits is None else self.splits.to_dict(),
            "why_no_splits": self.why_no_splits,
        }


def report_verification(
    embeddings_ND: npt.NDArray[np.float32],
    labels_N: npt.ArrayLike,
    config: EvaluationConfig,
    seed: int,
    others_ND: npt.NDArray[np.float32] | None = None,
) -> VerificationReport:
    """Verifies over all pairs, and over ``config.num_splits`` disjoint sets of labels where these have pairs enough.

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        config: Rates, splits, and how many pairs are sampled.
        seed: Seeds the samples.
        others_ND: (N, D) float32, the same examples as another network embeds them, see ``verify``.

    Raises:
        InputError: There is no pair of a kind, or the embeddings cannot be compared.
    """
    verification = verify(embeddings_ND, labels_N, config.max_pairs, seed, others_ND)
    splits, why = None, ""
    try:
        splits = verify_splits(
            embeddings_ND, labels_N, config.fars, config.num_splits, config.max_pairs, seed, others_ND
        )
    except InputError as error:  # the pairs as a whole were fit to be measured
        why = str(error)
    return VerificationReport(verification, tuple(verification.at_far(far) for far in config.fars), splits, why)
