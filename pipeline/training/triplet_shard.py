"""A shard of mined triplets, as batch planners take it, and the triplets that seed its cliques."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Int32Array, Int64Array

_SEED_STREAM = 0x6C6561646572  # keeps these random numbers apart from others of the same seed


@dataclass(frozen=True)
class Neighbours:
    """The mined neighbours of labels.

    Attributes:
        label_R: Label codes, int32, ascending, shape (R,).
        neighbour_R: The code of a neighbour of each, int32, shape (R,).
    """

    label_R: Int32Array
    neighbour_R: Int32Array

    def of(self, label: int) -> Int32Array:
        """Codes of a label's neighbours, most mined first; empty where it has none."""
        start, end = np.searchsorted(self.label_R, np.array([label, label + 1], dtype=np.int32))
        return self.neighbour_R[start:end]


@dataclass(frozen=True)
class TripletShard:
    """One shard of a generation's triplets, and the neighbours of every label.

    Attributes:
        generation: Its number.
        anchor_T: example_id, int64, ascending, shape (T,).
        positive_T: example_id, int64, shape (T,).
        negative_T: example_id, int64, shape (T,).
        anchor_label_T: Label codes, int32, shape (T,).
        negative_label_T: Label codes, int32, shape (T,).
        neighbours: Of all labels, those of other shards' anchors too.
    """

    generation: int
    anchor_T: Int64Array
    positive_T: Int64Array
    negative_T: Int64Array
    anchor_label_T: Int32Array
    negative_label_T: Int32Array
    neighbours: Neighbours

    def __len__(self) -> int:
        return len(self.anchor_T)


class CliqueSeeds:
    """The triplet that seeds the n-th clique: each label in turn, in an order drawn anew for every epoch.

    So no label seeds a second clique before all have seeded one, whatever its number of triplets, and a label that
    looks like another one in every picture cannot fill the batches. From epoch to epoch a label goes through its
    triplets.
    """

    def __init__(self, shard: TripletShard, seed: int) -> None:
        """Groups triplets by their anchor's label."""
        self._generation, self._seed = shard.generation, seed
        self._rows_T = np.argsort(shard.anchor_label_T, kind="stable")
        labels_T = shard.anchor_label_T[self._rows_T]
        _, self._starts_L, self._counts_L = np.unique(labels_T, return_index=True, return_counts=True)
        rng = np.random.default_rng((_SEED_STREAM, seed, shard.generation))
        self._first_L = rng.integers(self._counts_L) if len(self._counts_L) else self._counts_L
        self._epoch, self._order_L = -1, self._starts_L

    def __len__(self) -> int:
        """Labels that seed cliques: those that have a triplet in the shard."""
        return len(self._starts_L)

    def row(self, clique: int) -> int:
        """The row of the triplet that seeds a clique."""
        epoch, position = divmod(clique, len(self))
        if epoch != self._epoch:
            rng = np.random.default_rng((_SEED_STREAM, self._seed, self._generation, epoch))
            self._epoch, self._order_L = epoch, rng.permutation(len(self))
        label = self._order_L[position]
        return int(self._rows_T[self._starts_L[label] + (self._first_L[label] + epoch) % self._counts_L[label]])
