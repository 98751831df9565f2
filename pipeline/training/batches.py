"""Which images a step trains on. A batch is a pure function of (seed, step, what was mined).

There is no sampler state to save: a resumed run asks for the step it stopped at and gets the same batch,
whatever the number of workers.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.config import BatchConfig
from pipeline.errors import InputError
from pipeline.training.loss import Selection

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]

_STREAM = 0x6261746368  # keeps these random numbers apart from others of the same seed


@dataclass(frozen=True)
class Batch:
    """The images of one step, over all workers.

    Attributes:
        ids_B: example_id, int64, distinct unless triplets are listed; shape (B,).
        labels_B: Label codes, int32, shape (B,).
        selection: Which triplets of the batch the loss takes.
        listed_T3: Rows (anchor, positive, negative) for the selection "listed", else None.
    """

    ids_B: Int64Array
    labels_B: Int32Array
    selection: Selection
    listed_T3: Int64Array | None = None


class BatchPlanner(Protocol):
    """Gives the batch of any step."""

    def plan(self, step: int) -> Batch:
        """The batch of this step."""
        ...


class Pool:
    """The training examples, by label; only labels with at least two can form a positive pair."""

    def __init__(self, ids_N: Int64Array, labels_N: Int32Array) -> None:
        """Groups examples.

        Args:
            ids_N: example_id of the training examples, int64, shape (N,).
            labels_N: Their label codes, int32, shape (N,).
        """
        order = np.lexsort((ids_N, labels_N))
        self.ids_N: Int64Array = ids_N[order]
        self.labels_N: Int32Array = labels_N[order]
        labels, starts, sizes = np.unique(self.labels_N, return_index=True, return_counts=True)
        if len(labels) < 2 or sizes.max(initial=0) < 2:
            raise InputError(
                f"the training examples have {len(labels)} label(s), of at most {sizes.max(initial=0)} examples: a "
                "triplet needs two labels, one of them with two examples; lower corpus.test_fraction or add data"
            )
        self._extent = {int(label): (int(s), int(n)) for label, s, n in zip(labels, starts, sizes, strict=True)}
        self.labels: Int32Array = labels[sizes >= 2]

    def draw(self, rng: np.random.Generator, label: int, number: int, first: Int64Array) -> Int64Array:
        """Up to ``number`` distinct examples of a label: ``first``, then random others."""
        start, size = self._extent[label]
        members = self.ids_N[start : start + size]
        others = rng.permutation(np.setdiff1d(members, first))
        return np.concatenate([first, others])[:number]

    def random_label(self, rng: np.random.Generator) -> int:
        """A label with at least two examples."""
        return int(self.labels[rng.integers(len(self.labels))])


class RandomLabels:
    """FaceNet's online batch (§3.2): random identities with several images each, mined within the batch."""

    def __init__(self, pool: Pool, config: BatchConfig, seed: int) -> None:
        """Takes the examples to draw from."""
        self._pool, self._config, self._seed = pool, config, seed

    def plan(self, step: int) -> Batch:
        """The batch of this step."""
        rng = np.random.default_rng((_STREAM, self._seed, step))
        return _filled({}, self._pool, self._config, rng, "semi_hard")


class RandomTriplets:
    """The plain baseline: random anchors, positives and negatives; only the listed triplets count."""

    def __init__(self, pool: Pool, config: BatchConfig, seed: int) -> None:
        """Takes the examples to draw from."""
        self._pool, self._seed = pool, seed
        self._num_triplets = config.num_images // 3

    def plan(self, step: int) -> Batch:
        """The batch of this step: as many images as the other batches, three a triplet."""
        rng = np.random.default_rng((_STREAM, self._seed, step))
        pool = self._pool
        rows: list[int] = []
        labels: list[int] = []
        for _ in range(self._num_triplets):
            label = pool.random_label(rng)
            anchor, positive = pool.draw(rng, label, 2, np.empty(0, dtype=np.int64))
            while True:
                negative = int(rng.integers(len(pool.ids_N)))
                if pool.labels_N[negative] != label:
                    break
            rows.extend((int(anchor), int(positive), int(pool.ids_N[negative])))
            labels.extend((label, label, int(pool.labels_N[negative])))
        listed = np.arange(len(rows)).reshape(-1, 3)
        return Batch(np.array(rows, dtype=np.int64), np.array(labels, dtype=np.int32), "listed", listed)


@dataclass(frozen=True)
class Mined:
    """What a generation gives the batch builder: one shard of triplets, and the neighbours of every label.

    Attributes:
        anchor_T: example_id, int64, ascending, shape (T,).
        positive_T: example_id, int64, shape (T,).
        negative_T: example_id, int64, shape (T,).
        anchor_label_T: Label codes, int32, shape (T,).
        negative_label_T: Label codes, int32, shape (T,).
        neighbours: Label code to the codes of its neighbours, most mined first.
    """

    anchor_T: Int64Array
    positive_T: Int64Array
    negative_T: Int64Array
    anchor_label_T: Int32Array
    negative_label_T: Int32Array
    neighbours: dict[int, Int32Array]


class Neighbourhoods:
    """Cliques of look-alikes beside random labels; their valid triplets count, listed or not.

    A clique starts from a mined triplet: its anchor's label, its negative's, and further mined neighbours of the
    anchor's, each with the triplet's own images first. Cliques follow Doppelganger mining (Smirnov et al., ICCV
    Workshops 2017) and CliqueMining (arXiv 2407.02422), with neighbours from the whole corpus.
    """

    def __init__(self, pool: Pool, mined: Mined, config: BatchConfig, selection: Selection, seed: int) -> None:
        """Takes the examples, one shard of what was mined, and which triplets of a batch shall count."""
        self._pool, self._mined, self._config, self._seed = pool, mined, config, seed
        self._selection: Selection = selection
        order = np.argsort(mined.anchor_label_T, kind="stable")
        self._rows_by_label = order
        self._labels, self._starts = np.unique(mined.anchor_label_T[order], return_index=True)
        self._ends = np.append(self._starts[1:], len(order))

    def plan(self, step: int) -> Batch:
        """The batch of this step."""
        rng = np.random.default_rng((_STREAM, self._seed, step))
        config, chosen = self._config, dict[int, Int64Array]()
        num_mined = round(config.num_labels * (1.0 - config.random_share))
        tries = 0
        while len(chosen) < num_mined and len(self._labels) and tries < 4 * num_mined:
            tries += 1
            clique = self._clique(rng)
            room = num_mined - len(chosen)
            fresh = [label for label in clique if label not in chosen][:room]
            if len(fresh) >= min(2, room, len(clique)):
                chosen.update((label, clique[label]) for label in fresh)
        return _filled(chosen, self._pool, config, rng, self._selection)

    def _clique(self, rng: np.random.Generator) -> dict[int, Int64Array]:
        """Labels of a clique, each with the images that the mined triplet names."""
        mined = self._mined
        group = int(rng.integers(len(self._labels)))
        row = int(self._rows_by_label[rng.integers(self._starts[group], self._ends[group])])
        label, other = int(mined.anchor_label_T[row]), int(mined.negative_label_T[row])
        clique = {label: np.array([mined.anchor_T[row], mined.positive_T[row]])}
        if self._config.clique_size > 1:
            clique[other] = np.array([mined.negative_T[row]])
        for neighbour in mined.neighbours.get(label, ()):
            if len(clique) >= self._config.clique_size:
                break
            clique.setdefault(int(neighbour), np.empty(0, dtype=np.int64))
        return clique


def _filled(
    chosen: dict[int, Int64Array],
    pool: Pool,
    config: BatchConfig,
    rng: np.random.Generator,
    selection: Selection,
) -> Batch:
    """A full batch: the chosen labels and their images, then random labels until every place is taken."""
    ids: list[Int64Array] = []
    labels: list[Int32Array] = []
    room = config.num_images

    def take(label: int, first: Int64Array) -> None:
        nonlocal room
        images = pool.draw(rng, label, min(config.images_per_label, room), first)
        ids.append(images)
        labels.append(np.full(len(images), label, dtype=np.int32))
        room -= len(images)

    for label, first in chosen.items():
        take(label, first)
    for label in rng.permutation(pool.labels):
        if room <= 0:
            break
        if int(label) not in chosen:
            take(int(label), np.empty(0, dtype=np.int64))
    return Batch(np.concatenate(ids), np.concatenate(labels), selection)
