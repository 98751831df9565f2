"""What is looked at before anything is published: is this an embedding that one can mine?"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.errors import AuditRefusedError
from pipeline.mining.distance import Float64Array, FloatArray


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


def audit(moments: Moments, min_spread: float) -> AuditReport:
    """Looks at the embeddings of all eligible examples.

    Args:
        moments: Their summed moments.
        min_spread: Below this, nothing is mined.

    Raises:
        AuditRefusedError: The encoder has collapsed: its vectors are all but equal.
    """
    mean_D = moments.sum_D / max(moments.count, 1)
    covariance_DD = moments.product_DD / max(moments.count, 1) - np.outer(mean_D, mean_D)
    eigenvalues = np.clip(np.linalg.eigvalsh(covariance_DD), 0.0, None)
    spread = float(eigenvalues.sum())
    if spread < min_spread:
        raise AuditRefusedError(
            f"the encoder has collapsed: embeddings spread {spread:.2e} about their mean, less than "
            f"mining.min_spread {min_spread:.0e}; nothing was published: if it is untrained, initialise it so that its "
            "outputs differ; else lower the learning rate or mine an easier band, from an earlier checkpoint on"
        )
    shares = eigenvalues[eigenvalues > 0] / spread if spread > 0 else np.ones(1)
    return AuditReport(spread, float(np.exp(-(shares * np.log(shares)).sum())))
