"""Harmonic embeddings: can vectors of a new encoder be compared with stored ones of an old (FaceNet, appendix)?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import EvaluationConfig
from pipeline.evaluation.verification.report import VerificationReport, evaluate_verification


@dataclass(frozen=True, eq=False)
class Compatibility:
    """Verification of the same examples, as each encoder embeds them and across the two.

    Attributes:
        reports: ``new_new``, ``new_old`` (one vector of either) and ``old_old``, the expected best first.
    """

    reports: Mapping[str, VerificationReport]

    def metrics(self) -> dict[str, float]:
        """``val_at_far_1e-03_new_old`` and so on."""
        return {
            f"{metric}_{pairing}": value
            for pairing, report in self.reports.items()
            for metric, value in report.metrics().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        return self.metrics() | {"pairings": {name: report.to_dict() for name, report in self.reports.items()}}


def evaluate_compatibility(
    new_ND: npt.NDArray[np.float32],
    old_ND: npt.NDArray[np.float32],
    labels_N: npt.ArrayLike,
    config: EvaluationConfig,
    seed: int,
) -> Compatibility:
    """Verifies new against new, new against old and old against old.

    Args:
        new_ND: (N, D) float32, unit vectors of the new encoder.
        old_ND: (N, D) float32, unit vectors of the old one for the same examples.
        labels_N: (N,) integer label codes.
        config: False accept rates, and how many pairs are sampled.
        seed: Seeds the samples.

    Raises:
        InputError: The two have different lengths, or there is no pair of a kind.
    """
    across = evaluate_verification(new_ND, labels_N, config, seed, others_ND=old_ND)
    return Compatibility(
        {
            "new_new": evaluate_verification(new_ND, labels_N, config, seed),
            "new_old": across,
            "old_old": evaluate_verification(old_ND, labels_N, config, seed),
        }
    )
