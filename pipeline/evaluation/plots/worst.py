"""The pairs that a verifier gets most wrong. N: examples, D: embedding dimension, Q: examples of a tile."""

import heapq
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, Float64Array

MAX_TILE_VALUES = 4_000_000
# Anchors that are searched again at a time.
NUM_SEARCHED_AGAIN = 64
# Distances of unit vectors that differ by less are equal: the rounding of a float64 product, with room to spare.
DECIMALS = 12


@dataclass(frozen=True)
class Pair:
    """Two examples by id, that of the lower row first, with the codes of their labels and their squared L2 distance."""

    first: int
    second: int
    first_label: int
    second_label: int
    distance: float


@dataclass(frozen=True)
class SearchLimits:
    """Limits of the result and the cost of a search.

    Attributes:
        num_pairs: Pairs of each kind; there may be fewer.
        max_per_label: A label has at most so many pairs of a kind.
        max_compared: Where N² is more, max_compared / N examples are sampled, and only their pairs are compared. The
            default takes about ten seconds on two cores at 128 dimensions.
    """

    num_pairs: int
    max_per_label: int = 2
    max_compared: int = 200_000_000


@dataclass(frozen=True)
class WorstPairs:
    """Pairs of either kind, the worst first; no example is twice in a kind.

    Attributes:
        false_accepts: Different labels, nearest first.
        false_rejects: One label, farthest first.
        num_anchors: Examples that were compared with all others; all N, or a sample of them.
    """

    false_accepts: tuple[Pair, ...]
    false_rejects: tuple[Pair, ...]
    num_anchors: int


def find_worst_pairs(
    vectors_ND: Float32Array, labels_N: npt.ArrayLike, ids: npt.ArrayLike, limits: SearchLimits, seed: int
) -> WorstPairs:
    """Finds the nearest pairs of different labels and the farthest pairs of one label.

    Of all pairs the worst is taken, then the worst that shares no example with it, and so on: an example that is
    near to many would else fill the plot, and so would a label with many examples. Of equally bad pairs, the pair of
    the lowest rows comes first. The search is exhaustive, in float64, a tile of rows at a time; memory is O(N·D).

    Args:
        vectors_ND: (N, D) float32, unit vectors, finite.
        labels_N: (N,) integer label codes.
        ids: (N,) integers, what the examples are called in the result.
        limits: How many pairs, and how many comparisons.
        seed: Seeds the sample of anchors.
    """
    labels, example_ids = np.asarray(labels_N), np.asarray(ids)
    anchors = np.arange(len(labels))
    num_anchors = max(1, limits.max_compared // max(1, len(labels)))
    if num_anchors < len(labels):
        anchors = np.sort(np.random.default_rng(seed).choice(len(labels), num_anchors, replace=False))
    vectors64_ND = vectors_ND.astype(np.float64)
    kinds = []
    for same_label in (False, True):
        rows = _PairSearch(vectors64_ND, labels, same_label).find_worst(anchors, limits)
        kinds.append(tuple(_pair(vectors64_ND, labels, example_ids, low, high) for low, high in rows))
    return WorstPairs(false_accepts=kinds[0], false_rejects=kinds[1], num_anchors=len(anchors))


# Sort key, anchor, and the partner that is worst for it: a heap of these yields the worst first.
Candidate = tuple[float, int, int]


class _PairSearch:
    """Searches pairs of one kind. The sort key is d for different labels, -d for one label: the smallest is worst."""

    def __init__(self, vectors_ND: Float64Array, labels: npt.NDArray[np.generic], same_label: bool) -> None:
        self._vectors_ND = vectors_ND
        self._squared_norms = np.einsum("nd,nd->n", vectors_ND, vectors_ND)
        self._labels = labels
        self._same_label = same_label
        self._used = np.zeros(len(labels), dtype=np.bool_)

    def find_worst(self, anchors: npt.NDArray[np.int64], limits: SearchLimits) -> list[tuple[int, int]]:
        """Rows of the worst pairs, the lower row first.

        Another pair may have taken an anchor's partner. The sort key is then a lower bound for the anchor's next pair,
        so that only anchors at the top of the heap need be searched again.
        """
        tile_size = max(1, MAX_TILE_VALUES // max(1, len(self._labels)))
        tiles = [anchors[start : start + tile_size] for start in range(0, len(anchors), tile_size)]
        heap = [candidate for tile in tiles for candidate in self._search(tile)]
        heapq.heapify(heap)
        taken: list[tuple[int, int]] = []
        num_taken: Counter[int] = Counter()
        while heap and len(taken) < limits.num_pairs:
            stale = self._pop_stale(heap)
            if stale:
                for candidate in self._search(np.array(stale)):
                    heapq.heappush(heap, candidate)
            elif heap:
                _, anchor, partner = heapq.heappop(heap)
                taken.append((min(anchor, partner), max(anchor, partner)))
                self._used[[anchor, partner]] = True
                for label in {int(self._labels[anchor]), int(self._labels[partner])}:
                    num_taken[label] += 1
                    if num_taken[label] == limits.max_per_label:
                        self._used |= self._labels == label
        return taken

    def _pop_stale(self, heap: list[Candidate]) -> list[int]:
        """Pops used candidates from the top of the heap; returns the first few anchors whose partner was taken."""
        stale: list[int] = []
        while heap and len(stale) < NUM_SEARCHED_AGAIN and (self._used[heap[0][1]] or self._used[heap[0][2]]):
            _, anchor, _ = heapq.heappop(heap)
            if not self._used[anchor]:
                stale.append(anchor)
        return stale

    def _search(self, anchors_Q: npt.NDArray[np.int64]) -> list[Candidate]:
        """The worst partner of each anchor that has one."""
        key_QN = self._vectors_ND[anchors_Q] @ self._vectors_ND.T
        key_QN *= -2
        key_QN += self._squared_norms
        key_QN += self._squared_norms[anchors_Q, None]
        np.round(key_QN, DECIMALS, out=key_QN)
        if self._same_label:
            np.negative(key_QN, out=key_QN)
        key_QN[(self._labels[anchors_Q, None] == self._labels) != self._same_label] = np.inf
        key_QN[:, self._used] = np.inf
        rows_Q = np.arange(len(anchors_Q))
        key_QN[rows_Q, anchors_Q] = np.inf
        partners_Q = key_QN.argmin(axis=1)
        key_Q = key_QN[rows_Q, partners_Q]
        candidates = zip(key_Q.tolist(), anchors_Q.tolist(), partners_Q.tolist(), strict=True)
        return [candidate for candidate in candidates if candidate[0] < np.inf]


def _pair(
    vectors_ND: Float64Array, labels: npt.NDArray[np.generic], ids: npt.NDArray[np.generic], low: int, high: int
) -> Pair:
    difference = vectors_ND[low] - vectors_ND[high]
    distance = float(difference @ difference)
    return Pair(int(ids[low]), int(ids[high]), int(labels[low]), int(labels[high]), distance)
