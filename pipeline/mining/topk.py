"""The state of a search. Merging two is a minimum by (distance, id), so associative, commutative and idempotent."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.arrays import Float32Array, Int64Array
from pipeline.mining.columns import Columns

NO_ID = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Nearest(Columns):
    """The best M negatives found so far for each of P pairs, best first.

    Attributes:
        d_an_PM: Squared L2 distance, float32, shape (P, M); inf where there is none.
        id_PM: example_id, int64, shape (P, M); NO_ID where there is none.
    """

    d_an_PM: Float32Array
    id_PM: Int64Array

    @classmethod
    def empty(cls, num_pairs: int, num_negatives: int) -> Self:
        """Nothing found yet."""
        shape = (num_pairs, num_negatives)
        return cls(np.full(shape, np.inf, dtype=np.float32), np.full(shape, NO_ID, dtype=np.int64))

    @property
    def found_PM(self) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """Which places are filled, bool, shape (P, M)."""
        found_PM: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = self.id_PM != NO_ID
        return found_PM

    def push(self, row_K: Int64Array, d_an_K: Float32Array, id_K: Int64Array) -> None:
        """Takes in K found candidates, in place.

        Args:
            row_K: Which pair each is for, int64, shape (K,).
            d_an_K: Their distances, float32, shape (K,).
            id_K: Their example ids, int64, shape (K,). One that a pair already holds is no second find.
        """
        if len(row_K) == 0:
            return
        num_negatives = self.d_an_PM.shape[1]
        touched = np.flatnonzero(np.bincount(row_K))  # np.unique takes ten times as long
        rows = np.concatenate([np.repeat(touched, num_negatives), row_K])
        distances = np.concatenate([self.d_an_PM[touched].ravel(), d_an_K])
        ids = np.concatenate([self.id_PM[touched].ravel(), id_K])
        order = np.lexsort((ids, distances, rows))
        rows, distances, ids = rows[order], distances[order], ids[order]
        again = np.zeros(len(rows), dtype=bool)
        again[1:] = (rows[1:] == rows[:-1]) & (ids[1:] == ids[:-1]) & (ids[1:] != NO_ID)
        rows, distances, ids = rows[~again], distances[~again], ids[~again]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows, side="left")
        best = rank < num_negatives
        self.d_an_PM[rows[best], rank[best]] = distances[best]
        self.id_PM[rows[best], rank[best]] = ids[best]

    def merge(self, other: "Nearest") -> None:
        """Takes in the answers of another search for the same pairs, in place.

        Of many sets of candidates, equal and disjoint, the s-th brings a pair something new with probability
        1 − (1 − 1/s)^M: about M ln S of S answers do. The others are done with after a look at their best.

        Args:
            other: Over any set of candidates, overlapping or not.
        """
        worst_P, best_P = self.d_an_PM[:, -1], other.d_an_PM[:, 0]
        gains_P = best_P < worst_P
        ties = np.flatnonzero(best_P == worst_P)
        gains_P[ties] = other.id_PM[ties, 0] < self.id_PM[ties, -1]
        rows = np.flatnonzero(gains_P)
        d_an, ids = _in_order(
            np.concatenate([self.d_an_PM[rows], other.d_an_PM[rows]], axis=1),
            np.concatenate([self.id_PM[rows], other.id_PM[rows]], axis=1),
        )
        again = np.zeros(ids.shape, dtype=bool)
        again[:, 1:] = (ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] != NO_ID)
        if again.any():
            d_an[again], ids[again] = np.inf, NO_ID
            d_an, ids = _in_order(d_an, ids)
        num_negatives = self.d_an_PM.shape[1]
        self.d_an_PM[rows], self.id_PM[rows] = d_an[:, :num_negatives], ids[:, :num_negatives]

    def copy(self) -> Self:
        """The same, to go on from."""
        return type(self)(self.d_an_PM.copy(), self.id_PM.copy())


def _in_order(d_an_PK: Float32Array, id_PK: Int64Array) -> tuple[Float32Array, Int64Array]:
    """Sorts each row by (distance, id)."""
    order = np.lexsort((id_PK, d_an_PK), axis=-1)
    return np.take_along_axis(d_an_PK, order, axis=1), np.take_along_axis(id_PK, order, axis=1)
