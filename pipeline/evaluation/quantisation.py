"""Embeddings of one byte a dimension (FaceNet, section 5.4: 128 dimensions in 128 bytes, with no loss of accuracy).

N: examples, D: embedding dimension, P: pairs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array
from pipeline.config import EvaluationConfig
from pipeline.evaluation.evaluate import evaluate_embeddings
from pipeline.evaluation.robustness.protocol import figures_of_merit
from pipeline.evaluation.verification.pairs import PairRuns, check_finite, pair_distances

CodeArray = npt.NDArray[np.int8]

MAX_CODE = 127
ROWS_PER_TILE = 65_536
MAX_DISTANCES = 100_000
"""Pairs of a kind whose distance is compared with that of their codes."""


@dataclass(frozen=True)
class Quantisation:
    """Figures of merit of embeddings as they are, and as int8 codes.

    Attributes:
        num_examples: N.
        num_dims: D.
        bytes_per_vector: As the embeddings were given; a code takes D.
        exact: Figures of merit by name.
        quantised: The same of the restored codes.
        num_distances: P, same-label and different-label pairs whose distances were compared.
        max_distance_error: The largest |d' - d| of these, d the squared L2 distance and d' that of the codes.
        max_distance_bound: The largest that it could have been, by ``rounding_bound``.
    """

    num_examples: int
    num_dims: int
    bytes_per_vector: int
    exact: Mapping[str, float]
    quantised: Mapping[str, float]
    num_distances: int
    max_distance_error: float
    max_distance_bound: float

    def metrics(self) -> dict[str, float]:
        """``recall_at_1_int8`` and so on, ``recall_at_1_int8_change`` from float, ``int8_max_distance_error``."""
        metrics = {}
        for metric, value in self.quantised.items():
            metrics[f"{metric}_int8"] = value
            metrics[f"{metric}_int8_change"] = value - self.exact[metric]
        return metrics | {"int8_max_distance_error": self.max_distance_error}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, those of the embeddings as they are, and the bytes."""
        return self.metrics() | {
            "exact": dict(self.exact),
            "num_examples": self.num_examples,
            "num_dims": self.num_dims,
            "num_distances": self.num_distances,
            "max_distance_bound": self.max_distance_bound,
            "bytes_per_vector": self.bytes_per_vector,
            "bytes_per_code": self.num_dims,
            "bytes_saved": self.num_examples * (self.bytes_per_vector - self.num_dims),
        }


def quantise(vectors_ND: npt.NDArray[np.floating]) -> CodeArray:
    """Rounds each vector to int8, scaled so that its largest coordinate becomes ±127.

    The scale is not kept: a unit vector's follows from its length.

    Args:
        vectors_ND: (N, D), unit vectors. A zero vector becomes a code of zeros.

    Returns:
        (N, D) int8, never -128.

    Raises:
        InputError: A vector holds NaN or infinity.
    """
    check_finite(vectors_ND)
    codes_ND = np.empty(vectors_ND.shape, dtype=np.int8)
    for start in range(0, len(vectors_ND), ROWS_PER_TILE):
        tile = vectors_ND[start : start + ROWS_PER_TILE].astype(np.float32)
        largest = np.abs(tile).max(axis=1, keepdims=True, initial=0.0)
        # The share first: 127 / largest would overflow where a vector is very short.
        np.divide(tile, largest, out=tile, where=largest > 0)
        codes_ND[start : start + len(tile)] = np.rint(tile * np.float32(MAX_CODE))
    return codes_ND


def restore(codes_ND: CodeArray) -> Float32Array:
    """The vectors that codes stand for.

    Args:
        codes_ND: (N, D) int8.

    Returns:
        (N, D) float32, unit vectors; zeros for a code of zeros.
    """
    vectors_ND = codes_ND.astype(np.float32)
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    np.divide(vectors_ND, lengths, out=vectors_ND, where=lengths > 0)
    return vectors_ND


def rounding_bound(vectors_ND: Float32Array) -> npt.NDArray[np.float64]:
    """The greatest distance of each restored vector from the unit vector that was quantised, (N,) float64.

    Let m = max|x|, u = 127/m x, and c the code: |c - u| <= √D/2, |u| = 127/m and |c| >= 127. As
    |u/|u| - c/|c|| <= 2 |u - c| / (|u| + |c|) (Dunkl and Williams, 1964), the distance is at most √D m / (127 (1 + m)).
    Float32 arithmetic adds a few parts in 10⁷.

    Args:
        vectors_ND: (N, D) float32, unit vectors.
    """
    largest: npt.NDArray[np.float64] = np.abs(vectors_ND).max(axis=1, initial=0.0).astype(np.float64)
    return math.sqrt(vectors_ND.shape[1]) * largest / (MAX_CODE * (1 + largest))


def evaluate_quantisation(
    embeddings_ND: Float32Array, labels_N: npt.ArrayLike, config: EvaluationConfig, seed: int
) -> Quantisation:
    """Measures embeddings as they are and restored from int8, on the same pairs.

    Recall@1 compares every example with every other: above some ten thousand, sample them first.

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        config: False accept rates, and how many pairs are sampled.
        seed: Seeds the samples of pairs.

    Raises:
        InputError: There is no pair of a kind, or an embedding is not finite.
    """
    restored_ND = restore(quantise(embeddings_ND))
    exact, quantised = (
        figures_of_merit(evaluate_embeddings(vectors_ND, labels_N, config, seed))
        for vectors_ND in (embeddings_ND, restored_ND)
    )
    error_P, bound_P = _distance_errors(embeddings_ND, restored_ND, np.asarray(labels_N), seed)
    return Quantisation(
        num_examples=len(embeddings_ND),
        num_dims=embeddings_ND.shape[1],
        bytes_per_vector=embeddings_ND.itemsize * embeddings_ND.shape[1],
        exact=exact,
        quantised=quantised,
        num_distances=len(error_P),
        max_distance_error=float(error_P.max()),
        max_distance_bound=float(bound_P.max()),
    )


def _distance_errors(
    embeddings_ND: Float32Array, restored_ND: Float32Array, labels_N: npt.NDArray[np.generic], seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """|d' - d| of sampled pairs of either kind, and what each can be at most."""
    order = np.argsort(labels_N, kind="stable")
    rng = np.random.default_rng(seed)
    sampled = [runs.sample(MAX_DISTANCES, rng) for runs in PairRuns.of_sorted(labels_N[order], both_orders=False)]
    i_P, j_P = (order[np.concatenate(side)] for side in zip(*sampled, strict=True))
    exact_P, rounded_P = (
        pair_distances(vectors_ND, vectors_ND, i_P, j_P).astype(np.float64)
        for vectors_ND in (embeddings_ND, restored_ND)
    )
    moved_N = rounding_bound(embeddings_ND)
    moved_P = moved_N[i_P] + moved_N[j_P]
    # |√d' - √d| is at most the sum of how far both vectors have moved.
    return np.abs(rounded_P - exact_P), moved_P * (2 * np.sqrt(exact_P) + moved_P)
