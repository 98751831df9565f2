"""An index of the training examples by label: every batch draws its images from it."""

from collections.abc import Iterator

import numpy as np

from pipeline.arrays import Int32Array, Int64Array
from pipeline.errors import InputError

NO_IDS: Int64Array = np.empty(0, dtype=np.int64)


class LabelIndex:
    """Maps a label to its examples; only labels with at least two can form a positive pair.

    Attributes:
        ids_N: example_id, int64, by label, then ascending.
        labels_N: Their label codes, int32, ascending.
        labels_L: Labels with two examples or more, int32, ascending.
    """

    def __init__(self, ids_N: Int64Array, labels_N: Int32Array) -> None:
        """Groups examples.

        Args:
            ids_N: example_id of the training examples, int64, shape (N,).
            labels_N: Their label codes, int32, shape (N,).

        Raises:
            InputError: They cannot form a triplet.
        """
        order = np.lexsort((ids_N, labels_N))
        self.ids_N: Int64Array = ids_N[order]
        self.labels_N: Int32Array = labels_N[order]
        self._labels, self._starts, self._sizes = np.unique(self.labels_N, return_index=True, return_counts=True)
        if len(self._labels) < 2 or self._sizes.max(initial=0) < 2:
            raise InputError(
                f"the training examples have {len(self._labels)} label(s), of at most {self._sizes.max(initial=0)} "
                "examples: a triplet needs two labels, one of them with two examples; lower corpus.test_fraction or "
                "add data"
            )
        self.labels_L: Int32Array = self._labels[self._sizes >= 2]

    def without(self, excluded: Int64Array) -> "LabelIndex":
        """An index without some examples; this one where it holds none of them."""
        kept_N = ~np.isin(self.ids_N, excluded)
        return self if kept_N.all() else LabelIndex(self.ids_N[kept_N], self.labels_N[kept_N])

    def draw(self, rng: np.random.Generator, label: int, number: int, first: Int64Array = NO_IDS) -> Int64Array:
        """Up to ``number`` distinct examples of a label: ``first`` (those that the index holds), then random others."""
        row = np.searchsorted(self._labels, np.int32(label))  # of the same type: otherwise all labels are converted
        if row == len(self._labels) or self._labels[row] != label:
            return NO_IDS
        members = self.ids_N[self._starts[row] : self._starts[row] + self._sizes[row]]
        if len(first):
            is_first = members[:, None] == first
            members, first = members[~is_first.any(axis=1)], first[is_first.any(axis=0)]
        shuffled = members[rng.permutation(len(members))[: max(number - len(first), 0)]]
        return np.concatenate([first[:number], shuffled])


def random_order(rng: np.random.Generator, labels_L: Int32Array) -> Iterator[int]:
    """Labels in random order, without shuffling all of them for the few that a batch wants.

    Fisher and Yates' shuffle, which keeps only the positions that it has moved.
    """
    moved: dict[int, int] = {}
    for position in range(len(labels_L)):
        other = int(rng.integers(position, len(labels_L)))
        chosen = moved.get(other, other)
        moved[other] = moved.get(position, position)
        yield int(labels_L[chosen])
