"""Embeddings to measure, and a float64 brute force that the measures are held against."""

import itertools

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.verification.protocol import Verification, evaluate_pairs


def unit_vectors(
    num_examples: int, num_labels: int, noise: float, seed: int, dim: int = 8
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Noisy copies of one random direction a label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_labels, size=num_examples)
    vectors = rng.normal(size=(num_labels, dim))[labels] + noise * rng.normal(size=(num_examples, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def verification(noise: float) -> Verification:
    """Of 200 examples of 20 labels."""
    return evaluate_pairs(*unit_vectors(200, 20, noise, seed=0), max_pairs=10_000, seed=0)


def brute_force_distances(
    embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> tuple[list[float], list[float]]:
    """Sorted squared distances of all same-label and all different-label pairs."""
    same: list[float] = []
    different: list[float] = []
    for i, j in itertools.combinations(range(len(labels)), 2):
        distance = float(((embeddings[i].astype(np.float64) - embeddings[j].astype(np.float64)) ** 2).sum())
        (same if labels[i] == labels[j] else different).append(distance)
    return sorted(same), sorted(different)
