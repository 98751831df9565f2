"""What is looked at before anything is published: is this an embedding that one can mine?"""

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from pipeline.arrays import Float64Array, FloatArray
from pipeline.config import AuditConfig
from pipeline.errors import AuditRefusedError

_FROM_EARLIER = "from an earlier checkpoint on (--run NAME --encoder.pretrained RUN:STEP)"
_FEWEST_LABELS_OFF_A_LINE = 4
"""Two or three labels that are told apart to perfection do lie on a line, or nearly."""


@dataclass(frozen=True)
class Moments:
    """Sums over embeddings, so that shards can be looked at apart and added.

    Attributes:
        count: Number of vectors.
        sum_D: Their sum, float64, shape (D,).
        product_DD: Sum of their outer products, float64, shape (D, D).
    """

    count: int
    sum_D: Float64Array
    product_DD: Float64Array

    @classmethod
    def of(cls, vectors_ND: FloatArray) -> Self:
        """Moments of finite vectors of shape (N, D)."""
        num_dims = vectors_ND.shape[1]
        product_DD = np.zeros((num_dims, num_dims))
        for start in range(0, len(vectors_ND), 1 << 12):
            rows = vectors_ND[start : start + (1 << 12)].astype(np.float64)
            product_DD += rows.T @ rows
        return cls(len(vectors_ND), vectors_ND.sum(axis=0, dtype=np.float64), product_DD)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.sum_D + other.sum_D, self.product_DD + other.product_DD)


@dataclass(frozen=True)
class AuditReport:
    """What the audit saw.

    Attributes:
        spread: Mean squared L2 distance to the centroid, in [0, 1] for unit vectors; 0 is a collapsed encoder.
        effective_rank: exp of the entropy of the covariance's normalised eigenvalues (Roy & Vetterli, 2007).
    """

    spread: float
    effective_rank: float


def check_broken(num_broken: int, num_examples: int, config: AuditConfig) -> None:
    """Refuses a diverged encoder.

    Args:
        num_broken: Training examples whose embedding is not finite, or zero.
        num_examples: Training examples in all.
        config: Sets the share that is allowed.

    Raises:
        AuditRefusedError: There are more.
    """
    share = num_broken / max(num_examples, 1)
    if share > config.max_broken_share:
        raise AuditRefusedError(
            f"the encoder has diverged: {num_broken:,} of {num_examples:,} embeddings are NaN, infinite or zero, more "
            f"than mining.audit.max_broken_share {config.max_broken_share:g} allows; nothing was published: begin "
            f"a new run with a lower learning rate, or in float32 where it was bfloat16, {_FROM_EARLIER}",
            broken_share=share,
        )


def audit(moments: Moments, num_labels: int, config: AuditConfig) -> AuditReport:
    """Looks at the embeddings of all eligible examples.

    Args:
        moments: Their summed moments.
        num_labels: Different labels among them.
        config: Below its limits, nothing is mined.

    Raises:
        AuditRefusedError: The encoder has collapsed: its vectors are all but equal, or lie on a line.
    """
    mean_D = moments.sum_D / max(moments.count, 1)
    covariance_DD = moments.product_DD / max(moments.count, 1) - np.outer(mean_D, mean_D)
    eigenvalues = np.clip(np.linalg.eigvalsh(covariance_DD), 0.0, None)
    spread = float(eigenvalues.sum())
    shares = eigenvalues[eigenvalues > 0] / spread if spread > 0 else np.ones(1)
    report = AuditReport(spread, float(np.exp(-(shares * np.log(shares)).sum())))
    if spread < config.min_spread:
        raise AuditRefusedError(
            f"the encoder has collapsed: embeddings spread {spread:.2e} about their mean, less than "
            f"mining.audit.min_spread {config.min_spread:.0e}; nothing was published: if it is untrained, initialise "
            "it so that its outputs differ; else begin a new run with a lower learning rate or an easier band, "
            f"{_FROM_EARLIER}",
            **asdict(report),
        )
    if num_labels >= _FEWEST_LABELS_OFF_A_LINE and report.effective_rank < config.min_effective_rank:
        raise AuditRefusedError(
            f"the encoder has collapsed onto a line: embeddings of {num_labels:,} labels have an effective rank of "
            f"{report.effective_rank:.2f}, less than mining.audit.min_effective_rank {config.min_effective_rank:g}; "
            f"nothing was published: begin a new run with a lower learning rate or an easier band, {_FROM_EARLIER}",
            **asdict(report),
        )
    return report


def check_yield(num_pairs: int, num_unanswered: int, config: AuditConfig) -> None:
    """Refuses a generation in which too few pairs have a negative in their band.

    Raises:
        AuditRefusedError: There are too few.
    """
    share = 1.0 - num_unanswered / max(num_pairs, 1)
    if share < config.min_yield:
        raise AuditRefusedError(
            f"only {num_pairs - num_unanswered:,} of {num_pairs:,} pairs have a negative in their band, a share below "
            f"mining.audit.min_yield {config.min_yield:g}; nothing was published: widen mining.band, or look into the "
            "last generation for what has changed (python -m jobs.triplets summary)",
            band_yield=share,
        )
