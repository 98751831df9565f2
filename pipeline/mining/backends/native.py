"""The scan in C (backend `native`): the same answers as ``reference.scan``, near the processor's matrix-product rate.

``native.c`` says how. This module prepares its arrays and is the only one that imports it.
"""

import importlib
from collections import Counter
from types import ModuleType
from typing import Literal

import numpy as np

from pipeline.arrays import Float32Array, Int64Array
from pipeline.errors import InputError
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest

InstructionSet = Literal["portable", "avx2", "avx512", "amx"]


def unavailable_reason() -> str | None:
    """Why the compiled scan cannot be used here, and how to change that; None where it can."""
    try:
        importlib.import_module("pipeline.mining.backends._native")
    except ImportError as error:
        return (
            f"the compiled scan is not built here ({error}): install a C compiler and Python's headers, then install "
            "Motherlode again"
        )
    return None


def import_native() -> ModuleType:
    """The compiled module.

    Raises:
        InputError: It was not built when Motherlode was installed.
    """
    if reason := unavailable_reason():
        raise InputError(reason)
    return importlib.import_module("pipeline.mining.backends._native")


def instruction_sets() -> tuple[InstructionSet, ...]:
    """What this processor offers to the scan, slowest first.

    Raises:
        InputError: The compiled scan is missing.
    """
    return tuple(name for name in import_native().instruction_sets() if name is not None)


class NativeScan:
    """The compiled scan over one shard. Single-threaded and free of the GIL: give each core a block of anchors."""

    def __init__(self, shard: Shard, instruction_set: InstructionSet | None = None) -> None:
        """Looks at the vectors once, for the error bound; nothing is copied.

        Args:
            shard: Candidates; ``vectors_ND`` is read where it lies.
            instruction_set: The best that this processor has, by default.

        Raises:
            InputError: The compiled scan is missing, or a vector is not finite.
        """
        self._native = import_native()
        names = self._native.instruction_sets()
        self.instruction_set: InstructionSet = instruction_set or instruction_sets()[-1]
        if self.instruction_set not in names:
            raise InputError(f"this processor has no {self.instruction_set}; it has {', '.join(instruction_sets())}")
        self._isa = names.index(self.instruction_set)
        self._shard = Shard(
            np.ascontiguousarray(shard.ids_N, dtype=np.int64),
            np.ascontiguousarray(shard.labels_N, dtype=np.int32),
            np.ascontiguousarray(shard.vectors_ND),
        )
        self._spans = self._measure(self._shard.vectors_ND)
        self._split: Counter[int] = Counter()
        """Whether the embeddings turned out to need finer products, for so many negatives a pair: the next block begins
        with them. The audit asks for many, and mining, which asks for few, may do without."""
        self.num_looked_at = self.num_rescored = 0  # candidates that products could not decide on, over all calls

    def __call__(self, queries: Queries, num_negatives: int) -> tuple[Nearest, int]:
        """As ``reference.scan``; the second value, of pairs handed on, is 0.

        Raises:
            InputError: Anchors and candidates differ in dimension or type, or a vector is not finite.
        """
        first_pair, row_of_pair_P, lower_U, upper_U = unique_intervals(queries)
        found = Nearest.empty(len(lower_U), num_negatives)
        self._scan(queries, first_pair, lower_U, upper_U, found, compare=True)
        return Nearest(found.d_an_PM[row_of_pair_P], found.id_PM[row_of_pair_P]), 0

    def products_only(self, queries: Queries) -> None:
        """The same matrix products, compared with nothing: the benchmark's denominator."""
        first_pair, _, lower_U, upper_U = unique_intervals(queries)
        self._scan(queries, first_pair, lower_U, upper_U, Nearest.empty(len(lower_U), 1), compare=False)

    def _scan(
        self,
        queries: Queries,
        first_pair: Int64Array,
        lower_U: Float32Array,
        upper_U: Float32Array,
        found: Nearest,
        compare: bool,
    ) -> None:
        num_negatives = found.d_an_PM.shape[1]
        shard, anchors_AD = self._shard, np.ascontiguousarray(queries.vectors_AD)
        if anchors_AD.dtype != shard.vectors_ND.dtype or anchors_AD.shape[1:] != shard.vectors_ND.shape[1:]:
            raise InputError(
                f"anchors are {anchors_AD.dtype} of {anchors_AD.shape[1:]} dimensions, candidates "
                f"{shard.vectors_ND.dtype} of {shard.vectors_ND.shape[1:]}: embed them with one encoder"
            )
        self._measure(anchors_AD)
        split, looked_at, rescored = self._native.scan(
            shard.vectors_ND,
            shard.ids_N,
            shard.labels_N,
            self._spans,
            anchors_AD,
            np.ascontiguousarray(queries.labels_A, dtype=np.int32),
            first_pair,
            lower_U,
            upper_U,
            found.d_an_PM,
            found.id_PM,
            len(shard),
            len(anchors_AD),
            anchors_AD.shape[1],
            num_negatives,
            anchors_AD.dtype == np.float16,
            self._isa,
            self._split[num_negatives] if compare else 0,
            compare,
        )
        self._split[num_negatives] |= split
        self.num_looked_at += looked_at
        self.num_rescored += rescored

    def _measure(self, vectors_ND: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> bytes:
        if vectors_ND.dtype not in (np.float16, np.float32) or vectors_ND.ndim != 2:
            raise InputError(
                f"vectors of {vectors_ND.dtype} and shape {vectors_ND.shape} cannot be scanned: float16 or float32, "
                "N x D, is needed"
            )
        try:
            spans: bytes = self._native.measure(vectors_ND, *vectors_ND.shape, vectors_ND.dtype == np.float16)
        except ValueError as error:
            raise InputError(f"the scan cannot use these vectors: {error}; leave such examples out") from None
        return spans


def unique_intervals(queries: Queries) -> tuple[Int64Array, Int64Array, Float32Array, Float32Array]:
    """The intervals that each anchor asks for, once each, by ascending bounds. U intervals.

    Pairs of one anchor often share an interval (all do, in hard and range mode), and so an answer.

    Returns:
        Where each anchor's intervals begin, int64, shape (A + 1,); the interval of each pair, int64, shape (P,);
        their lower and upper bounds, float32, shape (U,).
    """
    lower_P, upper_P, row_P = (np.asarray(x) for x in (queries.lower_P, queries.upper_P, queries.row_P))
    order = np.lexsort((upper_P, lower_P, row_P))
    row, lower, upper = row_P[order], lower_P[order], upper_P[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (row[1:] != row[:-1]) | (lower[1:] != lower[:-1]) | (upper[1:] != upper[:-1])
    interval_P = np.empty(len(order), dtype=np.int64)
    interval_P[order] = np.cumsum(is_new) - 1
    first_pair = np.searchsorted(row[is_new], np.arange(len(queries.labels_A) + 1)).astype(np.int64)
    return first_pair, interval_P, lower[is_new].astype(np.float32), upper[is_new].astype(np.float32)
