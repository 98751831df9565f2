"""Hard mode from a FAISS Flat index: the one place that imports faiss.

A Flat index lists the k nearest of everything, positives included, by float32 products. An anchor is resolved
when its list provably holds the answer; the others go to the scan, and how many is told.
"""

import importlib
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.mining.distance import error_bound, squared_distances, squared_norms
from pipeline.mining.merge import NO_ID, Nearest
from pipeline.mining.scan import Queries, scan
from pipeline.mining.shards import Shard

_EXTRA_NEIGHBOURS = 32  # beyond the negatives asked for: room for an anchor's own positives


def import_faiss() -> Any:  # noqa: ANN401 — faiss ships no types
    """The faiss module.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError:
        raise InputError(
            "mining.backend is faiss, but faiss is not installed here: "
            "pip install 'motherlode[cpu]' (or [gpu]), or set mining.backend reference"
        ) from None


class FlatIndex:
    """A FAISS Flat index over one shard."""

    def __init__(self, shard: Shard) -> None:
        """Builds the index; vectors are copied as float32."""
        faiss = import_faiss()
        self._shard = shard
        self._vectors = np.ascontiguousarray(shard.vectors_ND, dtype=np.float32)
        self._index = faiss.IndexFlatL2(self._vectors.shape[1])
        self._index.add(self._vectors)

    def scan(self, queries: Queries, num_negatives: int) -> tuple[Nearest, int]:
        """The nearest negatives of every pair, without lower or upper bounds (hard mode).

        Args:
            queries: Pairs whose bounds are infinite: all pairs of an anchor share one answer.
            num_negatives: M.

        Returns:
            The same as ``scan.scan`` gives, and the number of anchors that the index could not resolve.
        """
        num_anchors = len(queries.labels_A)
        k = min(len(self._shard), num_negatives + _EXTRA_NEIGHBOURS)
        vectors_AD = np.ascontiguousarray(queries.vectors_AD, dtype=np.float32)
        listed_AK, row_AK = self._index.search(vectors_AD, k)
        negative_AK = self._shard.labels_N[row_AK] != queries.labels_A[:, None]
        anchor_J, place_J = np.nonzero(negative_AK)
        row_J = row_AK[anchor_J, place_J]
        d_an_J = squared_distances(vectors_AD[anchor_J], self._vectors[row_J]).astype(np.float32)
        by_anchor = Nearest.empty(num_anchors, num_negatives)
        by_anchor.fold(anchor_J, d_an_J, self._shard.ids_N[row_J])

        # What the list left out is no nearer than its last entry, less twice the products' error.
        tolerance = error_bound(vectors_AD.shape[1], squared_norms(vectors_AD), squared_norms(self._vectors))
        certain_A = by_anchor.d_an_PM[:, -1] + 2 * tolerance < listed_AK[:, -1]
        unresolved = np.flatnonzero(~certain_A) if k < len(self._shard) else np.empty(0, dtype=np.intp)
        if len(unresolved):
            rest = scan(_anchors_alone(queries, unresolved), self._shard, num_negatives)
            by_anchor.d_an_PM[unresolved], by_anchor.id_PM[unresolved] = rest.d_an_PM, rest.id_PM
        found = Nearest(by_anchor.d_an_PM[queries.row_P], by_anchor.id_PM[queries.row_P])
        assert (found.id_PM[:, 0] == NO_ID).sum() == 0 or len(np.unique(self._shard.labels_N)) <= 1
        return found, len(unresolved)


def _anchors_alone(queries: Queries, anchors: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Queries:
    """One unbounded query for each of some anchors."""
    infinite = np.full(len(anchors), np.inf, dtype=np.float32)
    return Queries(queries.labels_A[anchors], queries.vectors_AD[anchors], np.arange(len(anchors)), -infinite, infinite)
