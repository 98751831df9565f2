"""Which labels the mined triplets join: the table from which the batch builder draws its cliques."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.triplets.schema import NEIGHBOURS

_FEWEST_PENDING, _PENDING_SHARE = 1 << 22, 0.5


class NeighbourTally:
    """Counts triplets by (label of the anchor, label of the negative), in memory of the distinct pairs."""

    def __init__(self, num_labels: int) -> None:
        """Starts empty; label codes run from 0 to ``num_labels`` - 1."""
        self._num_labels = num_labels
        self._keys = np.empty(0, dtype=np.int64)
        self._counts = np.empty(0, dtype=np.int64)
        self._closest = np.empty(0, dtype=np.float32)
        self._pending: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = []
        self._num_pending = 0

    def add(
        self, label_T: npt.NDArray[np.int32], neighbour_T: npt.NDArray[np.int32], d_an_T: npt.NDArray[np.float32]
    ) -> None:
        """Counts T triplets: label codes of anchor and negative, and their squared distance."""
        keys = label_T.astype(np.int64) * self._num_labels + neighbour_T
        self._pending.append((keys, d_an_T))
        self._num_pending += len(keys)
        # A share of the table, so that the time does not grow with its square.
        if self._num_pending >= max(_FEWEST_PENDING, _PENDING_SHARE * len(self._keys)):
            self._compact()

    def _compact(self) -> None:
        if not self._num_pending:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._pending)])
        closest = np.concatenate([self._closest, *(d_an for _, d_an in self._pending)])
        counts = np.concatenate([self._counts, np.ones(self._num_pending, dtype=np.int64)])
        self._pending, self._num_pending = [], 0
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        self._keys = keys[starts]
        self._counts = np.add.reduceat(counts[order], starts)
        self._closest = np.minimum.reduceat(closest[order], starts)

    def table(self, label_names: Sequence[str], per_label: int) -> pa.Table:
        """The ``per_label`` neighbours of each label that most triplets join (ties: the closer), as NEIGHBOURS."""
        self._compact()
        label, neighbour = np.divmod(self._keys, self._num_labels)
        order = np.lexsort((neighbour, self._closest, -self._counts, label))
        ordered = label[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
        kept = order[rank < per_label]
        names = np.asarray(label_names, dtype=object)
        return pa.table(
            [
                pa.array(names[label[kept]], pa.string()),
                pa.array(names[neighbour[kept]], pa.string()),
                self._counts[kept],
                self._closest[kept],
            ],
            schema=NEIGHBOURS,
        )
