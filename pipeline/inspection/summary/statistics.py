"""Statistics of a generation, in a single pass over its triplets."""

import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Float32Array, Int64Array
from pipeline.errors import CorruptDataError
from pipeline.inspection.generation import OpenGeneration
from pipeline.progress import stage
from pipeline.triplets.schema import KINDS, count_kinds

BIN_WIDTH = 2.0**-14
"""Of all histograms of distances: the error of a quantile, 6.1e-5. A power of two, so that no bin's edge is rounded."""
MAX_COUNTED_PER_ANCHOR = 1024
"""Anchors with so many triplets, or positives, or more are counted together."""


@dataclass(frozen=True)
class Histogram:
    """Counts of values in equal bins.

    Attributes:
        low: Lower edge of the first bin.
        high: Upper edge of the last bin.
        counts: int64, shape (B,); values outside are counted in the bins at the ends.
    """

    low: float
    high: float
    counts: Int64Array

    @classmethod
    def empty(cls, low: float, high: float) -> "Histogram":
        """Bins of BIN_WIDTH, all empty."""
        return cls(low, high, np.zeros(round((high - low) / BIN_WIDTH), dtype=np.int64))

    def quantile(self, q: float) -> float:
        """The q-quantile, to the width of a bin; NaN where there are no values.

        Within a bin, values are assumed to be evenly spread.
        """
        total = int(self.counts.sum())
        if not total:
            return float("nan")
        rank = q * total
        cumulative = np.cumsum(self.counts)
        # There may be empty bins on both sides: the 0-quantile is the lower edge of the first bin with a value.
        index = int(np.searchsorted(cumulative, rank)) if q > 0 else int(np.flatnonzero(self.counts)[0])
        before = int(cumulative[index]) - int(self.counts[index])
        width = (self.high - self.low) / len(self.counts)
        return self.low + width * (index + (rank - before) / int(self.counts[index]))

    def add(self, values_T: Float32Array) -> None:
        """Counts more values, finite."""
        num_bins = len(self.counts)
        bins_T = (values_T - np.float32(self.low)) * np.float32(num_bins / (self.high - self.low))
        np.clip(bins_T, 0, num_bins - 1, out=bins_T)
        self.counts[:] = self.counts + np.bincount(bins_T.astype(np.int32), minlength=num_bins)


@dataclass(frozen=True)
class GenerationStatistics:
    """Statistics of a generation's triplets.

    Attributes:
        num_triplets: T.
        num_bytes: Of its shards.
        num_shards: How many.
        d_ap: Squared L2 distances anchor to positive, from 0 to 4.
        d_an: Squared L2 distances anchor to negative, from 0 to 4.
        margin: d_an - d_ap, from -4 to 4.
        kinds: Triplets by kind, for the band's margin.
        triplets_per_anchor: int64; at index n, how many anchors have n triplets (at the last one: or more).
        positives_per_anchor: int64; the same for different positives.
        num_anchors: Examples that are an anchor.
        num_pairs: Different (anchor, positive).
        num_labels: Labels with an anchor.
        num_examples_used: Examples in any role.
        negative_counts_N: int64, shape (N,): how many triplets each example is the negative of.
        seconds: Duration of the pass.
    """

    num_triplets: int
    num_bytes: int
    num_shards: int
    d_ap: Histogram
    d_an: Histogram
    margin: Histogram
    kinds: dict[str, int]
    triplets_per_anchor: Int64Array
    positives_per_anchor: Int64Array
    num_anchors: int
    num_pairs: int
    num_labels: int
    num_examples_used: int
    negative_counts_N: Int64Array
    seconds: float

    def hubs(self, num: int) -> list[tuple[int, int]]:
        """The most frequent negatives as (example_id, number of triplets): most first, ties by id."""
        ids = np.flatnonzero(self.negative_counts_N)
        order = np.lexsort((ids, -self.negative_counts_N[ids]))[:num]
        return [(int(example), int(self.negative_counts_N[example])) for example in ids[order]]


def collect_statistics(generation: OpenGeneration) -> GenerationStatistics:
    """Reads every shard once, and keeps counts only: memory does not grow with the number of triplets.

    Raises:
        CorruptDataError: A part is not what was published, or holds rows that cannot be triplets.
        InputError: The generation was removed meanwhile.
    """
    reader, corpus, manifest = generation.reader, generation.corpus, generation.manifest
    collector = _StatisticsCollector(corpus.labels, len(corpus.label_names), manifest.mining.band.margin)
    start = time.perf_counter()
    with stage("read", manifest.num_triplets, "triplets") as advance:
        for index in range(reader.num_shards):
            shard = reader.shard(index)
            if not collector.add(shard):
                raise CorruptDataError(
                    f"shard {index} of generation {manifest.number} holds ids outside the corpus, distances that are "
                    "no numbers, or anchors out of order: jobs.triplets verify says which"
                )
            advance(len(shard))
    parts = manifest.parts_of("triplets")
    return collector.statistics(sum(part.num_bytes for part in parts), len(parts), time.perf_counter() - start)


class _StatisticsCollector:
    """Collects statistics, shard by shard."""

    def __init__(self, labels_N: npt.NDArray[np.int32], num_labels: int, margin: float) -> None:
        self._labels_N, self._margin = labels_N, margin
        self._num_triplets = 0
        self._kinds = dict.fromkeys(KINDS, 0)
        self._d_ap, self._d_an = Histogram.empty(0.0, 4.0), Histogram.empty(0.0, 4.0)
        self._d_an_less_d_ap = Histogram.empty(-4.0, 4.0)
        self._negative_counts_N = np.zeros(len(labels_N), dtype=np.int64)
        self._is_anchored_L = np.zeros(num_labels, dtype=np.bool_)
        self._is_used_N = np.zeros(len(labels_N), dtype=np.bool_)
        self._anchors = _AnchorCounter()

    def add(self, shard: pa.Table) -> bool:
        """Counts a shard; False if its rows are no triplets of this corpus."""
        anchor, positive, negative, d_ap, d_an = (shard[name].to_numpy() for name in shard.column_names)
        ids, distances = (anchor, positive, negative), (d_ap, d_an)
        if not len(shard):
            return True
        if any(ids_T.min() < 0 or ids_T.max() >= len(self._labels_N) for ids_T in ids):
            return False
        if not (all(np.isfinite(d_T).all() for d_T in distances) and (anchor[1:] >= anchor[:-1]).all()):
            return False
        self._num_triplets += len(shard)
        for kind, count in count_kinds(d_ap, d_an, self._margin).items():
            self._kinds[kind] += count
        self._d_ap.add(d_ap)
        self._d_an.add(d_an)
        self._d_an_less_d_ap.add(d_an - d_ap)
        np.add.at(self._negative_counts_N, negative, 1)
        self._is_anchored_L[self._labels_N[anchor]] = True
        for ids_T in ids:
            self._is_used_N[ids_T] = True
        self._anchors.add(anchor, positive)
        return True

    def statistics(self, num_bytes: int, num_shards: int, seconds: float) -> GenerationStatistics:
        """The statistics of all shards."""
        self._anchors.close()
        return GenerationStatistics(
            num_triplets=self._num_triplets,
            num_bytes=num_bytes,
            num_shards=num_shards,
            d_ap=self._d_ap,
            d_an=self._d_an,
            margin=self._d_an_less_d_ap,
            kinds=self._kinds,
            triplets_per_anchor=self._anchors.triplets,
            positives_per_anchor=self._anchors.positives,
            num_anchors=self._anchors.num_anchors,
            num_pairs=self._anchors.num_pairs,
            num_labels=int(np.count_nonzero(self._is_anchored_L)),
            num_examples_used=int(np.count_nonzero(self._is_used_N)),
            negative_counts_N=self._negative_counts_N,
            seconds=seconds,
        )


def _empty_counts() -> Int64Array:
    return np.zeros(MAX_COUNTED_PER_ANCHOR + 1, dtype=np.int64)


@dataclass
class _AnchorCounter:
    """Counts by anchor over rows that are sorted by anchor; an anchor's rows may lie in several shards."""

    triplets: Int64Array = field(default_factory=_empty_counts)
    positives: Int64Array = field(default_factory=_empty_counts)
    num_anchors: int = 0
    num_pairs: int = 0
    _pending: Int64Array = field(default_factory=lambda: np.empty((2, 0), dtype=np.int64))

    def add(self, anchor_T: Int64Array, positive_T: Int64Array) -> None:
        """Counts the complete anchors: all but the last, which may go on in the next shard."""
        anchor, positive = np.concatenate([self._pending, np.stack([anchor_T, positive_T])], axis=1)
        end = int(np.searchsorted(anchor, anchor[-1]))
        self._count(anchor[:end], positive[:end])
        self._pending = np.stack([anchor[end:], positive[end:]])

    def close(self) -> None:
        """Counts the last anchor."""
        self._count(*self._pending)

    def _count(self, anchor: Int64Array, positive: Int64Array) -> None:
        starts = np.flatnonzero(np.diff(anchor, prepend=-1))
        sizes = np.diff(starts, append=len(anchor))
        # Ids are below the corpus's size, and indices below the shard's: their pair fits in 64 bits.
        num_ids = int(positive.max(initial=0)) + 1
        pairs = np.sort(np.repeat(np.arange(len(starts)), sizes) * num_ids + positive)
        pairs = pairs[np.flatnonzero(np.diff(pairs, prepend=-1))]
        num_positives = np.bincount(pairs // num_ids, minlength=len(starts))
        for counts, num in ((self.triplets, sizes), (self.positives, num_positives)):
            limited = np.minimum(num, MAX_COUNTED_PER_ANCHOR)
            counts[:] = counts + np.bincount(limited, minlength=MAX_COUNTED_PER_ANCHOR + 1)
        self.num_anchors += len(starts)
        self.num_pairs += len(pairs)
