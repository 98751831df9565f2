"""Synthetic embeddings, from well trained to untrained, and what a refresh would ask about them."""

from dataclasses import dataclass

import numpy as np

from pipeline.config import BandConfig, PositivesConfig
from pipeline.errors import InputError
from pipeline.mining.positives import Pairs, select_positives
from pipeline.mining.queries import Queries, build_queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors


@dataclass(frozen=True)
class Size:
    """What is measured.

    Attributes:
        num_examples: N.
        num_dims: D.
        examples_per_label: Examples of a label.
        num_anchors: Anchors that ask; all N where None.
        num_rounds: Rounds that count.
        num_threads: Single-threaded searches side by side on a CPU; threads of the peers.
        device: "cpu" or "cuda".
    """

    num_examples: int
    num_dims: int = 128
    examples_per_label: int = 12
    num_anchors: int | None = 16384
    num_rounds: int = 5
    num_threads: int = 2
    device: str = "cpu"

    @property
    def anchors_per_block(self) -> int:
        """Anchors that a search gets at once: as in a refresh on CPUs, and enough to fill a GPU."""
        return 1 << 17 if self.device == "cuda" else 4096


@dataclass(frozen=True)
class World:
    """A corpus of embeddings and the questions about it.

    Attributes:
        shard: All examples.
        groups: Who shares a label.
        pairs: (anchor, positive) pairs.
        queries: Their bands.
    """

    shard: Shard
    groups: LabelGroups
    pairs: Pairs
    queries: Queries


def make_shard(size: Size, noise: float) -> Shard:
    """Unit vectors around a random unit centre a label; labels lie together, as in a corpus read folder by folder.

    Args:
        size: N, D and examples a label.
        noise: Length of the noise against the centre's 1: 0.8 is well trained, 4 is all but untrained.

    Raises:
        InputError: There would be fewer than two labels.
    """
    num_examples, num_dims = size.num_examples, size.num_dims
    if num_examples < 2 * size.examples_per_label:
        raise InputError(
            f"{num_examples} examples with {size.examples_per_label} a label are fewer than two labels: "
            "ask for more with --examples"
        )
    rng = np.random.default_rng(0)
    labels_N = (np.arange(num_examples) // size.examples_per_label).astype(np.int32)
    vectors_ND = np.empty((num_examples, num_dims), dtype=np.float32)
    for start in range(0, num_examples, step := size.examples_per_label * 4096):
        rows = labels_N[start : start + step]
        centres = rng.standard_normal((int(rows[-1] - rows[0]) + 1, num_dims), dtype=np.float32)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        noise_CD = rng.standard_normal((len(rows), num_dims), dtype=np.float32)
        mixed = centres[rows - rows[0]] + noise / np.sqrt(num_dims) * noise_CD
        vectors_ND[start : start + step] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return Shard(np.arange(num_examples, dtype=np.int64), labels_N, vectors_ND)


def make_world(shard: Shard, num_anchors: int, band: BandConfig, positives: PositivesConfig) -> World:
    """Queries of ``num_anchors`` anchors, spread over the shard."""
    groups, vectors = LabelGroups(shard.ids_N, shard.labels_N), ShardedVectors([shard])
    step = max(1, len(groups.anchors_A) // num_anchors)
    pairs = select_positives(positives, vectors, groups, groups.anchors_A[::step][:num_anchors], 0)
    return World(shard, groups, pairs, build_queries(pairs, vectors, groups, band))


def take_anchors(queries: Queries, first: int, last: int) -> Queries:
    """The queries of the anchors in rows [first, last)."""
    start, end = np.searchsorted(queries.row_P, [first, last])
    return Queries(
        queries.labels_A[first:last],
        queries.vectors_AD[first:last],
        queries.row_P[start:end] - first,
        queries.lower_P[start:end],
        queries.upper_P[start:end],
    )
