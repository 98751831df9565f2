"""Average linkage in flat memory. N: examples, D: dimension, C: active clusters.

A cluster's mean and mean squared norm are all it takes: the mean squared distance between the members of two clusters
is mean|a|² + mean|b|² - 2 mean(a)·mean(b). So no table of N² distances is kept; time is O(N²·D).
"""

import numpy as np

from pipeline.arrays import Float32Array, Int64Array
from pipeline.evaluation.neighbours import QUERIES_PER_TILE, nearest_others

UNKNOWN = -1


def agglomerate(embeddings_ND: Float32Array, threshold: float) -> Int64Array:
    """Joins the two nearest clusters until all are farther apart than a threshold.

    The distance of two clusters is the mean squared L2 distance between their members (UPGMA). The result is that of
    the whole dendrogram, cut at the threshold, and is found by chains of nearest neighbours (Müllner 2011, "Modern
    hierarchical, agglomerative clustering algorithms", section 3.2): average linkage is reducible, so a join brings no
    cluster nearer to a third one, and two that are each other's nearest may be joined at once. For the same reason a
    cluster whose nearest one is beyond the threshold is finished.

    Args:
        embeddings_ND: (N, D) float32, finite; N is at least 1.
        threshold: Greatest distance at which clusters are joined.

    Returns:
        (N,) int64: the cluster of each example, by the row of one of its members.
    """
    clusters = _ActiveClusters(embeddings_ND)
    chain: list[int] = []
    while clusters.count > 1:
        if not chain:
            chain.append(clusters.count - 1)
        top = chain[-1]
        # For a cluster whose nearest one was removed, the old distance is a lower bound of what a search would find.
        if clusters.distances_C[top] > threshold:
            clusters.remove(top)
            chain = []  # the chain held this cluster alone, but for rounding
            continue
        if clusters.nearest_C[top] == UNKNOWN:
            clusters.search(top)
            continue
        before = chain[-2] if len(chain) > 1 else UNKNOWN
        nearest = int(clusters.nearest_C[top])
        # Distances fall along a chain; where they do not, by rounding or by a tie, ``before`` is as near as any.
        if before == UNKNOWN or (nearest != before and clusters.distances_C[top] < clusters.distances_C[before]):
            chain.append(nearest)
            continue
        clusters.join(before, top)
        last = clusters.count
        chain = [top if slot == last else slot for slot in chain[:-2]]
    return clusters.assignments()


class _ActiveClusters:
    """The clusters that are neither joined to another nor finished, in the first ``count`` slots of each array."""

    def __init__(self, embeddings_ND: Float32Array) -> None:
        rows = np.arange(len(embeddings_ND))
        self.count = len(rows)
        self.nearest_C = np.full(len(rows), UNKNOWN)
        self.distances_C = np.zeros(len(rows))
        for start in range(0, len(rows), QUERIES_PER_TILE):
            tile = rows[start : start + QUERIES_PER_TILE]
            self.nearest_C[tile] = nearest_others(embeddings_ND[tile], embeddings_ND, tile, 1)[:, 0]
            difference = embeddings_ND[tile].astype(np.float64) - embeddings_ND[self.nearest_C[tile]]
            self.distances_C[tile] = np.einsum("cd,cd->c", difference, difference)
        self._means_CD = embeddings_ND.astype(np.float64)
        self._squared_norms_C = np.einsum("cd,cd->c", self._means_CD, self._means_CD)
        self._sizes_C = np.ones(len(rows))
        self._member_C = rows.copy()
        self._joins: list[tuple[int, int]] = []

    def search(self, slot: int) -> None:
        """Finds the cluster that is nearest to the one in a slot."""
        active = slice(self.count)
        distances_C = self._squared_norms_C[active] - 2 * (self._means_CD[active] @ self._means_CD[slot])
        distances_C[slot] = np.inf
        nearest = int(distances_C.argmin())
        self.nearest_C[slot] = nearest
        self.distances_C[slot] = distances_C[nearest] + self._squared_norms_C[slot]

    def join(self, kept: int, joined: int) -> None:
        """Joins the cluster of one slot to that of another, and removes it."""
        total = self._sizes_C[kept] + self._sizes_C[joined]
        share = self._sizes_C[joined] / total
        for values_C in (self._means_CD, self._squared_norms_C):
            values_C[kept] += share * (values_C[joined] - values_C[kept])
        self._sizes_C[kept] = total
        self._joins.append((int(self._member_C[kept]), int(self._member_C[joined])))
        nearest_C = self.nearest_C[: self.count]
        nearest_C[nearest_C == kept] = UNKNOWN
        self.nearest_C[kept] = UNKNOWN
        self.distances_C[kept] = 0.0
        self.remove(joined)

    def remove(self, slot: int) -> None:
        """Removes the cluster of a slot: the last cluster takes its place."""
        self.count -= 1
        last = self.count
        nearest_C = self.nearest_C[: last + 1]
        nearest_C[nearest_C == slot] = UNKNOWN
        nearest_C[nearest_C == last] = slot
        for values_C in (
            self.nearest_C,
            self.distances_C,
            self._means_CD,
            self._squared_norms_C,
            self._sizes_C,
            self._member_C,
        ):
            values_C[slot] = values_C[last]

    def assignments(self) -> Int64Array:
        """(N,) the cluster of each example, by the row of one of its members."""
        member_N = np.arange(len(self._member_C))
        # Backwards: what an example was joined to is settled before it.
        for kept, joined in reversed(self._joins):
            member_N[joined] = member_N[kept]
        return member_N
