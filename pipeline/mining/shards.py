"""What mining works on: shards of eligible examples, and who shares a label with whom."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import FloatArray, Int32Array, Int64Array
from pipeline.mining.columns import Columns


@dataclass(frozen=True)
class Shard(Columns):
    """Some of the eligible examples of the corpus, in order of their ids.

    Attributes:
        ids_N: example_id, int64, ascending, shape (N,).
        labels_N: Label codes, int32, shape (N,).
        vectors_ND: Stored embeddings, float16 or float32, shape (N, D), finite.
    """

    ids_N: Int64Array
    labels_N: Int32Array
    vectors_ND: FloatArray

    def without(self, ids_R: Int64Array) -> "Shard":
        """The shard without some examples."""
        return self.take(~np.isin(self.ids_N, ids_R))


class ShardedVectors:
    """Random access to the vectors of examples that lie in several shards, which together ascend by id."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = [shard for shard in shards if len(shard)]
        self._first_ids = np.array([shard.ids_N[0] for shard in self._shards], dtype=np.int64)

    def take(self, ids_P: Int64Array) -> FloatArray:
        """Vectors of the examples ``ids_P``, in that order, shape (P, D).

        Raises:
            KeyError: An id is in none of the shards.
        """
        template = self._shards[0].vectors_ND
        out_PD = np.empty((len(ids_P), template.shape[1]), dtype=template.dtype)
        shard_P = np.searchsorted(self._first_ids, ids_P, side="right") - 1
        for index in np.unique(shard_P, return_counts=True)[0]:  # without counts it takes ten times as long
            shard, chosen = self._shards[index], shard_P == index
            rows = np.searchsorted(shard.ids_N, ids_P[chosen])
            if index < 0 or rows.max() >= len(shard) or (shard.ids_N[rows] != ids_P[chosen]).any():
                raise KeyError("an example id is in none of the shards")
            out_PD[chosen] = shard.vectors_ND[rows]
        return out_PD


class LabelGroups:
    """The eligible examples, grouped by label."""

    def __init__(self, ids_N: Int64Array, labels_N: Int32Array) -> None:
        """Groups examples.

        Args:
            ids_N: example_id, int64, ascending, shape (N,).
            labels_N: Label codes, int32, shape (N,).
        """
        order = np.lexsort((ids_N, labels_N))
        self.ids_N: Int64Array = ids_N[order]
        self.labels_G, starts = np.unique(labels_N[order], return_index=True)
        self.offsets: Int64Array = np.append(starts, len(ids_N)).astype(np.int64)
        sizes_G = np.diff(self.offsets)
        self.anchors_A: Int64Array = np.sort(self.ids_N[np.repeat(sizes_G >= 2, sizes_G)])
        self.singletons: Int64Array = np.sort(self.ids_N[np.repeat(sizes_G == 1, sizes_G)])
        self._by_id = np.argsort(self.ids_N)
        self._label_by_id = np.repeat(self.labels_G, sizes_G)[self._by_id]

    def members(self, labels_A: Int32Array) -> tuple[Int64Array, Int64Array]:
        """Start and end, within ``ids_N``, of the group of each label; int64, shape (A,)."""
        group_A = np.searchsorted(self.labels_G, labels_A)
        return self.offsets[group_A], self.offsets[group_A + 1]

    def same_label_ids(self, ids_A: Int64Array) -> Int64Array:
        """Ids of eligible examples that share a label with any of these, which are eligible too; int64, ascending."""
        starts, ends = self.members(np.unique(self.labels_of(ids_A)))
        return np.sort(np.concatenate([self.ids_N[start:end] for start, end in zip(starts, ends, strict=True)]))

    def contains(self, ids_P: Int64Array) -> npt.NDArray[np.bool_]:
        """Which ids belong to eligible examples, bool, shape (P,)."""
        rows = np.minimum(np.searchsorted(self.ids_N, ids_P, sorter=self._by_id), len(self.ids_N) - 1)
        found: npt.NDArray[np.bool_] = self.ids_N[self._by_id[rows]] == ids_P
        return found

    def labels_of(self, ids_P: Int64Array) -> Int32Array:
        """Label codes of eligible examples, int32, shape (P,)."""
        rows = np.searchsorted(self.ids_N, ids_P, sorter=self._by_id)
        return self._label_by_id[rows]
