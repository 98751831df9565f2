"""Verification: are two examples of the same label? FaceNet's VAL and FAR (section 4), the ROC, and its summaries.

Distances are squared L2, smaller means more alike. N: examples, D: embedding dimension, P: pairs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from pipeline.arrays import Float32Array, Int64Array
from pipeline.errors import InputError
from pipeline.evaluation.verification.pairs import PairRuns, check_finite, check_labelled, pair_distances


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold of the verifier.

    Attributes:
        far: The requested false accept rate.
        threshold: The largest float32 distance d with FAR(d) <= far; infinite where every pair may be accepted.
        val: VAL(threshold), the share of same pairs that are accepted.
        actual_far: FAR(threshold); 0 where far is finer than one in the number of different pairs.
    """

    far: float
    threshold: float
    val: float
    actual_far: float


@dataclass(frozen=True)
class EqualErrorRate:
    """The point where the shares of accepted different pairs and of rejected same pairs are equal.

    Attributes:
        rate: The FAR at which the ROC, its points joined by straight lines, meets FAR = 1 - VAL.
        threshold: The smallest distance d with FAR(d) >= 1 - VAL(d): the end of the line on which they meet.
    """

    rate: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Verification:
    """The distances of same-label and of different-label pairs, and what follows from them.

    Attributes:
        same: (P_same,) float32, ascending squared L2 distances of the same-label pairs; at least one.
        different: (P_diff,) float32, ascending squared L2 distances of the different-label pairs; at least one.
    """

    same: Float32Array
    different: Float32Array

    def true_accepts(self, threshold: float) -> int:
        """|TA(d)|: the number of same pairs at a distance <= d."""
        return _num_up_to(self.same, threshold)

    def false_accepts(self, threshold: float) -> int:
        """|FA(d)|: the number of different pairs at a distance <= d."""
        return _num_up_to(self.different, threshold)

    def val(self, threshold: float) -> float:
        """VAL(d): the share of same pairs at a distance <= d."""
        return self.true_accepts(threshold) / len(self.same)

    def far(self, threshold: float) -> float:
        """FAR(d): the share of different pairs at a distance <= d."""
        return self.false_accepts(threshold) / len(self.different)

    def accuracy(self, threshold: float) -> float:
        """The share of pairs that are judged rightly, where same and different pairs weigh equally however many."""
        return (1 + self.val(threshold) - self.far(threshold)) / 2

    def best_threshold(self) -> float:
        """The threshold of the highest accuracy, the smallest where several cuts between the pairs reach it.

        Midway between the two distances that it parts, rounded down to float32; just below all distances where no cut
        is better than to accept none.
        """
        distances_K, same_K, different_K = self._cuts()
        # In whole numbers, so that cuts of equal accuracy tie exactly.
        gain = same_K * len(self.different) - different_K * len(self.same)
        best = int(gain.argmax())
        if best == 0:
            return float(np.nextafter(distances_K[0], np.float32(-np.inf)))
        return float(_round_down((float(distances_K[best - 1]) + float(distances_K[best])) / 2))

    def eer(self) -> EqualErrorRate:
        """The equal error rate; interpolated, since the rates of finitely many pairs step past each other."""
        distances_K, same_K, different_K = self._cuts()
        num_same, num_different = len(self.same), len(self.different)
        # FAR - (1 - VAL), in whole numbers; it rises from cut to cut, from -1 (none accepted) to 1 (all).
        excess = different_K * num_same + same_K * num_different - num_same * num_different
        rate = np.interp(0, excess, different_K / num_different)
        return EqualErrorRate(float(rate), float(distances_K[(excess >= 0).argmax() - 1]))

    def resolves(self, far: float) -> bool:
        """Whether there are enough different pairs for one of them to be accepted at this rate."""
        return 1 / len(self.different) <= far

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
        """FAR, evenly spaced in its logarithm from one different pair to all, and VAL there; (num_points,) float64."""
        fars = np.geomspace(1 / len(self.different), 1.0, num_points)
        return fars, np.array([self.at_far(far).val for far in fars])

    def _cuts(self) -> tuple[Float32Array, Int64Array, Int64Array]:
        """The K distinct distances, and how many same and different pairs each of the K + 1 cuts accepts."""
        distances_K = np.union1d(self.same, self.different)
        same_K, different_K = (
            np.append(0, np.searchsorted(kind, distances_K, side="right")) for kind in (self.same, self.different)
        )
        return distances_K, same_K, different_K


def evaluate_pairs(
    embeddings_ND: Float32Array,
    labels_N: npt.ArrayLike,
    max_pairs: int,
    seed: int,
    others_ND: Float32Array | None = None,
) -> Verification:
    """Measures the distances of all same-label and all different-label pairs, or of a sample of either.

    With ``others_ND`` they are those of ``embeddings_ND[i]`` from ``others_ND[j]``, for all i != j in both orders, so
    that the order of the examples does not decide which network embeds which of a pair. Memory is flat:
    O(N·D + max_pairs), never N².

    Args:
        embeddings_ND: (N, D) float32, unit vectors.
        labels_N: (N,) integer label codes.
        max_pairs: Where there are more pairs of a kind, so many are sampled without replacement, each pair with the
            same chance; else all are taken, and the seed does not matter.
        seed: Seeds the sample.
        others_ND: (N, D) float32, the same examples as another network embeds them.

    Raises:
        InputError: Fewer than two labels, no two examples of one label, an embedding that is not finite, or
            embeddings of two sizes.
    """
    labels = check_labelled(embeddings_ND, labels_N)
    if others_ND is not None:
        _check_others(others_ND, embeddings_ND)
    others = embeddings_ND if others_ND is None else others_ND
    order = np.argsort(labels, kind="stable")
    same, different = PairRuns.of_sorted(labels[order], both_orders=others_ND is not None)
    if not different.num_N.any():
        raise InputError(
            f"verification needs two labels or more, but the {len(order)} evaluated examples have "
            f"{len(np.unique(labels))}: raise corpus.test_fraction and prepare the corpus again"
        )
    if not same.num_N.any():
        raise InputError(
            f"verification needs two examples of one label, but each of the {len(order)} evaluated examples has a "
            "label of its own: raise corpus.test_fraction and prepare the corpus again"
        )
    rng = np.random.default_rng(seed)
    kinds = []
    for runs in (same, different):
        i, j = runs.sample(max_pairs, rng)
        kinds.append(np.sort(pair_distances(embeddings_ND, others, order[i], order[j])))
    return Verification(*kinds)


def _check_others(others_ND: Float32Array, embeddings_ND: Float32Array) -> None:
    if others_ND.ndim != 2 or len(others_ND) != len(embeddings_ND):
        raise ValueError(f"embeddings {embeddings_ND.shape} and {others_ND.shape} are not of the same examples")
    if others_ND.shape[1] != embeddings_ND.shape[1]:
        raise InputError(
            f"embeddings of {embeddings_ND.shape[1]} numbers cannot be compared with embeddings of "
            f"{others_ND.shape[1]}: compare checkpoints of one encoder.embedding_dim"
        )
    check_finite(others_ND)


def _num_up_to(ascending: Float32Array, threshold: float) -> int:
    return int(np.searchsorted(ascending, _round_down(threshold), side="right"))


def _round_down(value: float) -> np.float32:
    """The largest float32 that is at most ``value``: a float32 distance is at most the one where it is the other."""
    rounded = np.float32(value)
    return rounded if float(rounded) <= value else np.nextafter(rounded, np.float32(-np.inf))
