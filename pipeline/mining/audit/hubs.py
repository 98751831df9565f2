"""Hubs: examples that are the negative of very many triplets, and would lead training by themselves.

In many dimensions some points are near to very many others (Radovanović et al., "Hubs in space", JMLR 2010).
T triplets, N examples, H hubs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Int64Array
from pipeline.mining.sampling import hash_ids
from pipeline.mining.triplets import Triplets


@dataclass(frozen=True)
class Hubs:
    """Negatives of more triplets than the cap, most used first.

    Attributes:
        ids_H: example_id, int64.
        counts_H: Triplets that each is the negative of, int64.
        cap: As many are allowed.
    """

    ids_H: Int64Array
    counts_H: Int64Array
    cap: int

    def __len__(self) -> int:
        return len(self.ids_H)


def find_hubs(counts_N: Int64Array, factor: float | None) -> Hubs:
    """Finds hubs by how often each example is a negative.

    Args:
        counts_N: Triplets by the example_id of their negative.
        factor: The cap is so many times the count of the mean example that is a negative at all; None for no cap.
    """
    used_N = counts_N > 0
    if factor is None or not used_N.any():
        return Hubs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), 0)
    cap = int(np.ceil(factor * counts_N[used_N].mean()))
    ids_H = np.flatnonzero(counts_N > cap)
    ids_H = ids_H[np.lexsort((ids_H, -counts_N[ids_H]))]
    return Hubs(ids_H, counts_N[ids_H], cap)


class HubCap:
    """Chooses, by seed, which triplets of each hub are kept: as many as the cap, wherever they are stored."""

    def __init__(self, hubs: Hubs, seed: int) -> None:
        """Begins with nothing seen."""
        self._ids_H, self._cap, self._seed = np.sort(hubs.ids_H), hubs.cap, seed
        self._hub: list[Int64Array] = []
        self._lot: list[npt.NDArray[np.uint64]] = []
        self._last_H: npt.NDArray[np.uint64] | None = None

    def see(self, triplets: Triplets) -> None:
        """Takes in triplets; all of them must have been seen before the first are chosen."""
        row_T, is_hub_T = self._rows(triplets.negative_T)
        self._hub.append(row_T[is_hub_T])
        self._lot.append(self._lots(triplets.take(is_hub_T)))

    def keep(self, triplets: Triplets) -> npt.NDArray[np.bool_]:
        """Which of the triplets stay, bool, shape (T,)."""
        if self._last_H is None:
            self._last_H = self._last_lots()
        row_T, is_hub_T = self._rows(triplets.negative_T)
        keep_T: npt.NDArray[np.bool_] = ~is_hub_T | (self._lots(triplets) <= self._last_H[row_T])
        return keep_T

    def _lots(self, triplets: Triplets) -> npt.NDArray[np.uint64]:
        return hash_ids(self._seed, triplets.anchor_T, triplets.positive_T)

    def _rows(self, negative_T: Int64Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        row_T = np.minimum(np.searchsorted(self._ids_H, negative_T), len(self._ids_H) - 1)
        return row_T, self._ids_H[row_T] == negative_T

    def _last_lots(self) -> npt.NDArray[np.uint64]:
        """The highest lot of each hub that is still kept."""
        hub, lot = np.concatenate(self._hub), np.concatenate(self._lot)
        order = np.lexsort((lot, hub))
        starts_H = np.searchsorted(hub[order], np.arange(len(self._ids_H)))
        return lot[order][starts_H + self._cap - 1]
