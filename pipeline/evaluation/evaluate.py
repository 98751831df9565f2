"""The core figures of merit, which comparisons and sweeps follow while they train: VAL, ROC AUC and recall@1."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config import EvaluationConfig
from pipeline.evaluation.metric_names import far_name, val_name
from pipeline.evaluation.retrieval import Recall, recall_at_1
from pipeline.evaluation.verification.protocol import OperatingPoint, Verification, evaluate_pairs


@dataclass(frozen=True)
class Evaluation:
    """The core figures of merit of a checkpoint.

    Attributes:
        num_examples: N.
        num_labels: Distinct labels among them.
        retrieval: Recall@1 and its number of queries.
        roc_auc: Area under the verification ROC.
        operating_points: VAL and threshold at each false accept rate of the config, in its order.
        verification: The pairs' distances, which the plots need.
    """

    num_examples: int
    num_labels: int
    retrieval: Recall
    roc_auc: float
    operating_points: tuple[OperatingPoint, ...]
    verification: Verification

    def metrics(self) -> dict[str, float]:
        """The figures of merit under stable names: ``recall_at_1``, ``roc_auc``, ``val_at_far_1e-03`` and so on."""
        vals = {val_name(point.far): point.val for point in self.operating_points}
        return {"recall_at_1": self.retrieval.recall_at_1, "roc_auc": self.roc_auc} | vals

    def to_dict(self) -> dict[str, int | float]:
        """Everything that goes into a JSON document: the metrics, their thresholds and the counts behind them."""
        counts = {
            "num_examples": self.num_examples,
            "num_labels": self.num_labels,
            "num_queries": self.retrieval.num_queries,
            "num_same_pairs": len(self.verification.same),
            "num_different_pairs": len(self.verification.different),
        }
        thresholds = {f"threshold_at_far_{far_name(point.far)}": point.threshold for point in self.operating_points}
        return counts | self.metrics() | thresholds


def evaluate_embeddings(
    embeddings_ND: npt.NDArray[np.float32], labels_N: npt.ArrayLike, config: EvaluationConfig, seed: int
) -> Evaluation:
    """Measures verification and recall@1.

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        config: False accept rates, and how many pairs are sampled.
        seed: Seeds the sample of pairs.

    Raises:
        InputError: Fewer than two labels, no two examples of one label, or an embedding that is not finite.
    """
    verification = evaluate_pairs(embeddings_ND, labels_N, config.max_pairs, seed)
    return Evaluation(
        num_examples=len(embeddings_ND),
        num_labels=len(np.unique(labels_N)),
        retrieval=recall_at_1(embeddings_ND, labels_N),
        roc_auc=verification.roc_auc(),
        operating_points=tuple(verification.at_far(far) for far in config.fars),
        verification=verification,
    )
