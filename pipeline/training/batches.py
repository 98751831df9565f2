"""Which images a step trains on. A batch is a pure function of (seed, step, what was mined).

There is no sampler state to save: a resumed run asks for the step it stopped at and gets the same batch,
whatever the number of workers.
"""

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.arrays import Int32Array, Int64Array
from pipeline.config import BatchConfig
from pipeline.config.training import Selection
from pipeline.training.label_index import NO_IDS, LabelIndex, random_order
from pipeline.training.triplet_shard import TripletShard

_BATCH_STREAM = 0x6261746368  # keeps these random numbers apart from others of the same seed
_LISTED_STREAM = 0x6C6973746564

ImagesByLabel = dict[int, Int64Array]


@dataclass(frozen=True)
class Batch:
    """The images of one step, over all workers; each is decoded and forwarded once.

    Attributes:
        ids_B: example_id, int64, distinct, shape (B,).
        labels_B: Label codes, int32, shape (B,).
        selection: Which triplets of the batch the loss takes.
        listed_T3: Rows (anchor, positive, negative) where these alone shall count, else None.
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


class RandomLabels:
    """FaceNet's online batch (§3.2): random identities with several images each, mined within the batch."""

    def __init__(self, index: LabelIndex, config: BatchConfig, selection: Selection, seed: int) -> None:
        """Takes the examples to draw from, and which triplets of a batch shall count."""
        self._index, self._config, self._seed = index, config, seed
        self._selection: Selection = selection

    def plan(self, step: int) -> Batch:
        """The batch of this step."""
        return fill_batch({}, self._index, self._config, step_rng(self._seed, step), self._selection)


class RandomTriplets:
    """The plain baseline: random anchors, positives and negatives; only the listed triplets count."""

    def __init__(self, index: LabelIndex, config: BatchConfig, seed: int) -> None:
        """Takes the examples to draw from."""
        self._index, self._seed = index, seed
        self._num_triplets = config.num_images // 3

    def plan(self, step: int) -> Batch:
        """The batch of this step: as many images as the other batches, three a triplet."""
        rng, index = step_rng(self._seed, step), self._index
        rows = []
        for _ in range(self._num_triplets):
            label = int(index.labels_L[rng.integers(len(index.labels_L))])
            anchor, positive = index.draw(rng, label, 2)
            while index.labels_N[row := rng.integers(len(index.ids_N))] == label:
                pass
            rows.append((anchor, positive, index.ids_N[row], label, label, index.labels_N[row]))
        columns = np.array(rows, dtype=np.int64)
        return _listed_batch(columns[:, :3], columns[:, 3:].astype(np.int32))


class ListedTriplets:
    """The plain form of offline mining: the generation's triplets one by one, three images each."""

    def __init__(self, shard: TripletShard, config: BatchConfig, seed: int, first_step: int) -> None:
        """Takes one shard of a generation, which is walked through from ``first_step`` on, in a seeded order."""
        self._shard, self._first_step = shard, first_step
        self._num_triplets = config.num_images // 3
        rng = np.random.default_rng((_LISTED_STREAM, seed, shard.generation, first_step))
        self._order_T = rng.permutation(len(shard))

    def plan(self, step: int) -> Batch:
        """The batch of this step; none of its triplets comes again before all have come."""
        shard = self._shard
        start = (step - self._first_step) * self._num_triplets
        rows = self._order_T[np.arange(start, start + self._num_triplets) % len(shard)]
        ids_T3 = np.stack([shard.anchor_T[rows], shard.positive_T[rows], shard.negative_T[rows]], axis=1)
        anchor_label_T, negative_label_T = shard.anchor_label_T[rows], shard.negative_label_T[rows]
        return _listed_batch(ids_T3, np.stack([anchor_label_T, anchor_label_T, negative_label_T], axis=1))


def fill_batch(
    chosen: ImagesByLabel, index: LabelIndex, config: BatchConfig, rng: np.random.Generator, selection: Selection
) -> Batch:
    """A full batch: the chosen labels and their images, then random labels until it has all its images."""
    ids: list[Int64Array] = []
    labels: list[int] = []
    counts: list[int] = []
    room = config.num_images
    others = (label for label in random_order(rng, index.labels_L) if label not in chosen)
    for label in itertools.chain(chosen, others):
        if room <= 0:
            break
        images = index.draw(rng, label, min(config.images_per_label, room), chosen.get(label, NO_IDS))
        ids.append(images)
        labels.append(label)
        counts.append(len(images))
        room -= len(images)
    return Batch(np.concatenate(ids), np.repeat(np.array(labels, dtype=np.int32), counts), selection)


def _listed_batch(ids_T3: Int64Array, labels_T3: Int32Array) -> Batch:
    """Listed triplets as a batch in which an image that several of them share stands once."""
    ids_B, first, inverse = np.unique(ids_T3.ravel(), return_index=True, return_inverse=True)
    return Batch(ids_B, labels_T3.ravel()[first], "all", inverse.reshape(-1, 3))


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The random numbers of a step."""
    return np.random.default_rng((_BATCH_STREAM, seed, step))
