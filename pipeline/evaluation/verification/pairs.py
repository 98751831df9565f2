"""Pairs of examples: numbered without being listed, sampled without replacement, measured tile by tile.

Distances are squared L2. N: examples, D: embedding dimension, P: pairs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, Int64Array
from pipeline.errors import InputError

PAIRS_PER_TILE = 1024
"""So few that a tile stays in the processor's cache, which is three times as fast as 32,768."""


@dataclass(frozen=True, eq=False)
class PairRuns:
    """Pairs (i, j), numbered by i: the partners j of a row i are a run of rows, which may wrap round once.

    Attributes:
        num_N: (N,) int64, partners of each row.
        first_N: (N,) int64, the first of them.
        end_N: (N,) int64, the row at which the run wraps round.
        length_N: (N,) int64, how far back it jumps there.
    """

    num_N: Int64Array
    first_N: Int64Array
    end_N: Int64Array
    length_N: Int64Array

    @classmethod
    def of_sorted(cls, sorted_labels_N: npt.NDArray[np.generic], both_orders: bool) -> tuple["PairRuns", "PairRuns"]:
        """All pairs of two examples.

        With equal labels side by side, the same-label partners of row i that follow it are one run of rows, and its
        different-label ones are the next. Those that precede it continue each run, once it wraps round.

        Args:
            sorted_labels_N: (N,) labels in ascending order.
            both_orders: (i, j) and (j, i) are two pairs; else only i < j.

        Returns:
            The pairs of one label, and those of two.
        """
        num_rows = len(sorted_labels_N)
        rows = np.arange(num_rows)
        start = np.searchsorted(sorted_labels_N, sorted_labels_N, side="left")
        end = np.searchsorted(sorted_labels_N, sorted_labels_N, side="right")
        all_rows = np.full(num_rows, num_rows)
        num_same = end - start - 1 if both_orders else end - rows - 1
        num_different = num_rows - (end - start) if both_orders else num_rows - end
        return cls(num_same, rows + 1, end, end - start), cls(num_different, end, all_rows, all_rows)

    def sample(self, max_pairs: int, rng: np.random.Generator) -> tuple[Int64Array, Int64Array]:
        """Samples distinct pairs, each with the same chance; all of them if they are so few.

        Returns:
            i and j, (P,) int64 each.
        """
        ends = np.cumsum(self.num_N)
        numbers = sample_numbers(int(ends[-1]), max_pairs, rng)
        i = np.searchsorted(ends, numbers, side="right")
        j = self.first_N[i] + numbers - (ends[i] - self.num_N[i])
        return i, np.where(j >= self.end_N[i], j - self.length_N[i], j)


def pair_distances(
    embeddings_ND: Float32Array, others_ND: Float32Array, i_P: Int64Array, j_P: Int64Array
) -> Float32Array:
    """The distances of ``embeddings_ND[i]`` from ``others_ND[j]``, (P,) float32, in the order of the pairs."""
    distances = np.empty(len(i_P), dtype=np.float32)
    for start in range(0, len(i_P), PAIRS_PER_TILE):
        tile = slice(start, start + PAIRS_PER_TILE)
        # Differences first: 2 - 2 x·y would lose the digits of small distances, and those set the tail of the ROC.
        difference = embeddings_ND[i_P[tile]] - others_ND[j_P[tile]]
        distances[tile] = np.einsum("pd,pd->p", difference, difference)
    return distances


def sample_numbers(total: int, max_numbers: int, rng: np.random.Generator) -> Int64Array:
    """Samples distinct numbers below ``total``, each with the same chance; all of them if they are so few.

    One number from each of ``max_numbers`` equal runs, in O(max_numbers) memory; a common cyclic shift evens out the
    chances where the runs' lengths differ by one.
    """
    if total <= max_numbers:
        return np.arange(total)
    # k·total // max_numbers, taken apart: the product would leave int64 at a few million examples.
    length, remainder = divmod(total, max_numbers)
    run = np.arange(max_numbers + 1)
    bounds = run * length + run * remainder // max_numbers
    sampled = rng.integers(bounds[:-1], bounds[1:])
    return np.sort((sampled + rng.integers(total)) % total)


def check_labelled(embeddings_ND: Float32Array, labels_N: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """The labels; raises ValueError where shapes are not (N, D) and (N,), and InputError as ``check_finite`` does."""
    labels = np.asarray(labels_N)
    if embeddings_ND.ndim != 2 or labels.shape != (len(embeddings_ND),):
        raise ValueError(f"embeddings {embeddings_ND.shape} and labels {labels.shape} are not (N, D) and (N,)")
    check_finite(embeddings_ND)
    return labels


def check_finite(embeddings_ND: Float32Array) -> None:
    """Checks that all values are finite.

    Raises:
        InputError: An embedding holds NaN or infinity.
    """
    num_not_finite = int((~np.isfinite(embeddings_ND).all(axis=1)).sum())
    if num_not_finite:
        raise InputError(
            f"{num_not_finite} of {len(embeddings_ND)} embeddings hold NaN or infinity, so that no distance can be "
            "measured: evaluate an earlier checkpoint, or train with a lower training.optimiser.learning_rate"
        )
