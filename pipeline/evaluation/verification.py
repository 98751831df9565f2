"""Verification: are two examples of the same label? FaceNet's VAL and FAR (section 4), and the ROC.

Distances are squared L2, smaller means more alike. N: examples, D: embedding dimension, P: pairs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from pipeline.errors import InputError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

PAIRS_PER_TILE = 32_768


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold of the verifier.

    Attributes:
        far: The false accept rate that was asked for.
        threshold: The largest float32 distance d with FAR(d) <= far; infinite where every pair may be accepted.
        val: VAL(threshold), the share of same pairs that are accepted.
        actual_far: FAR(threshold); 0 where far is finer than one in the number of different pairs.
    """

    far: float
    threshold: float
    val: float
    actual_far: float


@dataclass(frozen=True, eq=False)
class Verification:
    """The distances of same-label and of different-label pairs, and what follows from them.

    Attributes:
        same: (P_same,) float32, ascending squared L2 distances of the same-label pairs.
        different: (P_diff,) float32, ascending squared L2 distances of the different-label pairs.
    """

    same: FloatArray
    different: FloatArray

    def val(self, threshold: float) -> float:
        """VAL(d): the share of same pairs at a distance <= d."""
        return _share_up_to(self.same, threshold)

    def far(self, threshold: float) -> float:
        """FAR(d): the share of different pairs at a distance <= d."""
        return _share_up_to(self.different, threshold)

    def at_far(self, far: float) -> OperatingPoint:
        """Finds the largest threshold whose FAR is at most ``far``, in [0, 1], and the VAL there."""
        total = len(self.different)
        num_accepted = int(far * total)
        # The product may be rounded past a whole number either way; the rates themselves decide.
        if num_accepted < total and (num_accepted + 1) / total <= far:
            num_accepted += 1
        elif num_accepted / total > far:
            num_accepted -= 1
        threshold = np.inf
        if num_accepted < total:  # the first pair too many bounds the threshold, itself excluded
            threshold = float(np.nextafter(self.different[num_accepted], np.float32(-np.inf)))
        return OperatingPoint(far, threshold, self.val(threshold), self.far(threshold))

    def roc_auc(self) -> float:
        """Area under the ROC: the chance that a same pair is nearer than a different one, ties counting half."""
        is_same = np.repeat([True, False], [len(self.same), len(self.different)])
        return float(roc_auc_score(is_same, -np.concatenate([self.same, self.different])))

    def roc_curve(self, num_points: int = 400) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The ROC for a logarithmic FAR axis.

        Args:
            num_points: Points, evenly spaced in log FAR from one different pair to all of them.

        Returns:
            FAR, ascending, and VAL; (num_points,) float64 each.
        """
        fars = np.geomspace(1 / len(self.different), 1.0, num_points)
        return fars, np.array([self.at_far(far).val for far in fars])


def verify(embeddings_ND: FloatArray, labels_N: npt.ArrayLike, max_pairs: int, seed: int) -> Verification:
    """Measures the distances of all same-label and all different-label pairs, or of a sample of either.

    Memory is flat: O(N·D + max_pairs), never N².

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        max_pairs: Where there are more pairs of a kind, so many are drawn without replacement, each pair with the
            same chance; else all are taken, and the seed does not matter.
        seed: Seeds the draw.

    Raises:
        InputError: Fewer than two labels, no two examples of one label, or an embedding that is not finite.
    """
    labels = np.asarray(labels_N)
    if embeddings_ND.ndim != 2 or labels.shape != (len(embeddings_ND),):
        raise ValueError(f"embeddings {embeddings_ND.shape} and labels {labels.shape} are not (N, D) and (N,)")
    num_broken = int((~np.isfinite(embeddings_ND).all(axis=1)).sum())
    if num_broken:
        raise InputError(
            f"{num_broken} of {len(embeddings_ND)} embeddings hold NaN or infinity, so that no distance can be "
            "measured: evaluate an earlier checkpoint, or train with a lower training.optimiser.learning_rate"
        )
    # With equal labels side by side, the same-label partners of row i that follow it are one run of rows, and
    # its different-label ones are the next: both kinds of pairs can be numbered without listing them.
    order = np.argsort(labels, kind="stable")
    rows = np.arange(len(order))
    block_end = np.searchsorted(labels[order], labels[order], side="right")
    num_same, num_different = block_end - rows - 1, len(order) - block_end
    if not num_different.any():
        raise InputError(
            f"verification needs two labels or more, but the {len(order)} evaluated examples have "
            f"{len(np.unique(labels))}: raise corpus.test_fraction and prepare the corpus again"
        )
    if not num_same.any():
        raise InputError(
            f"verification needs two examples of one label, but each of the {len(order)} evaluated examples has a "
            "label of its own: raise corpus.test_fraction and prepare the corpus again"
        )
    sorted_ND = embeddings_ND[order]
    rng = np.random.default_rng(seed)
    return Verification(
        same=_pair_distances(sorted_ND, num_same, rows + 1, max_pairs, rng),
        different=_pair_distances(sorted_ND, num_different, block_end, max_pairs, rng),
    )


def _pair_distances(
    embeddings_ND: FloatArray,
    num_partners: IntArray,
    first_partner: IntArray,
    max_pairs: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Sorted distances of pairs (i, j) with j in first_partner[i] … first_partner[i] + num_partners[i] - 1."""
    ends = np.cumsum(num_partners)
    pairs = _sample(int(ends[-1]), max_pairs, rng)
    distances = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), PAIRS_PER_TILE):
        tile = pairs[start : start + PAIRS_PER_TILE]
        i = np.searchsorted(ends, tile, side="right")
        j = first_partner[i] + tile - (ends[i] - num_partners[i])
        # Differences first: 2 - 2 x·y would lose the digits of small distances, and those set the tail of the ROC.
        difference = embeddings_ND[i] - embeddings_ND[j]
        distances[start : start + len(tile)] = np.einsum("pd,pd->p", difference, difference)
    distances.sort()
    return distances


def _sample(total: int, at_most: int, rng: np.random.Generator) -> IntArray:
    """Draws ``at_most`` distinct numbers below ``total``, each with the same chance; all of them if they are so few.

    One number from each of ``at_most`` equal runs, in O(at_most) memory; a common cyclic shift evens out the
    chances where the runs' lengths differ by one.
    """
    if total <= at_most:
        return np.arange(total)
    bounds = np.arange(at_most + 1) * total // at_most
    draws = rng.integers(bounds[:-1], bounds[1:])
    return np.sort((draws + rng.integers(total)) % total)


def _share_up_to(ascending: FloatArray, threshold: float) -> float:
    return float(np.searchsorted(ascending, np.float32(threshold), side="right") / len(ascending))
