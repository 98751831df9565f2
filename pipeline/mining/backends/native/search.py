"""The compiled scan of a shard: builds filter vectors, chooses products, and prepares the arrays of ``csrc``."""

import functools
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array, FloatArray, Int64Array
from pipeline.errors import InputError
from pipeline.mining.backends.native.compiled import all_kernels, import_native, instruction_sets
from pipeline.mining.backends.native.filters import (
    SCALE,
    SIZE,
    FilterVectors,
    PrincipalAxes,
    Projection,
    Rounder,
    float64_error,
)
from pipeline.mining.backends.native.ladder import Element, InstructionSet, Kernel, Ladder, Step, list_steps
from pipeline.mining.backends.native.question import Question, unique_intervals
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest

_AXES_SAMPLE = 2048  # candidates by which axes are found
_SAMPLE, _SAMPLE_ANCHORS = 1024, 64  # on which steps are tried
_TRIED = 2.0  # times the least cost so far: dearer steps are not tried, and expected to look at nothing in vain
_NEGATIVES_SAMPLE = 32768  # candidates whose nearest negatives stand for those of all
_AXES_CYCLES = 320_000.0  # of a search by all 128 dimensions, for 32 anchors, beyond which axes are worth finding
_SEED = 0  # of samples: any gives the same answers
_LONGEST_INT16 = 46000.0  # so that sums stay below 2^31
_UNLIMITED = 1e300
_RANGE = 1.4  # of products, in units of the norms' product, that 16 bits hold; what lies beyond wraps


@dataclass(frozen=True)
class _Filter:
    """What a step of the ladder multiplies, made once a shard.

    Attributes:
        projection: None where vectors are multiplied as they are.
        candidates: Rounded.
        longest: Largest |q| of an anchor's vector.
    """

    projection: Projection | None
    candidates: FilterVectors
    longest: float


class NativeScan:
    """The compiled scan over one shard. Single-threaded and free of the GIL: give each core a block of anchors."""

    def __init__(
        self,
        shard: Shard,
        instruction_set: InstructionSet | None = None,
        step: tuple[Element, int | None] | None = None,
        in_software: bool = False,
    ) -> None:
        """Looks at the vectors once; filter vectors are made as they are needed.

        Args:
            shard: Candidates; ``vectors_ND`` is read where it lies.
            instruction_set: The best that this processor has, by default.
            step: The only product to use, as element and dimensions of the prefix; by default, the scan chooses.
            in_software: Run the plain-C twins of the kernels, which need no instruction set.

        Raises:
            InputError: The compiled scan is missing, or a vector is not finite.
        """
        self._native = import_native()
        self.instruction_set: InstructionSet = instruction_set or instruction_sets()[-1]
        if not in_software and self.instruction_set not in instruction_sets():
            raise InputError(f"this processor has no {self.instruction_set}; it has {', '.join(instruction_sets())}")
        self._in_software = in_software
        self._shard = Shard(
            np.ascontiguousarray(shard.ids_N, dtype=np.int64),
            np.ascontiguousarray(shard.labels_N, dtype=np.int32),
            np.ascontiguousarray(shard.vectors_ND),
        )
        self._squared_norm_N = self._squared_norms(self._shard.vectors_ND)
        kernels = [kernel for kernel in all_kernels() if kernel.instruction_set == self.instruction_set]
        self._steps = list_steps(kernels, self._shard.vectors_ND.shape[1], len(self._shard))
        if step is not None:
            self._steps = [one for one in self._steps if (one.kernel.element, one.num_dims) == step]
        self._lock = threading.Lock()
        self._filters: dict[int, _Filter] = {}
        self._ladders: dict[int, Ladder] = {}
        """For so many negatives a pair: the audit asks for many, and mining, which asks for few, may do with coarser
        products."""
        self.num_looked_at = self.num_rescored = 0  # candidates that products could not decide on, over all calls

    def __call__(self, queries: Queries, num_negatives: int) -> tuple[Nearest, int]:
        """As ``reference.scan``; the second value, of pairs handed on, is 0.

        Raises:
            InputError: Anchors and candidates differ in dimension or type, or a vector is not finite.
        """
        first_pair, row_of_pair_P, lower_U, upper_U = unique_intervals(queries)
        found = Nearest.empty(len(lower_U), num_negatives)
        question = Question(self._anchors_of(queries), queries.labels_A, first_pair, lower_U, upper_U)
        ladder = self._ladder(queries, num_negatives)
        position = 0
        while position < len(self._shard):
            number = ladder.number
            position = self._scan(number, question, found, position, ladder.most_in_vain(number))
            if position < len(self._shard):
                ladder.climb(number)
                self._drop_filters()
        return Nearest(found.d_an_PM[row_of_pair_P], found.id_PM[row_of_pair_P]), 0

    def products_only(self, queries: Queries, num_negatives: int) -> None:
        """The same matrix products, compared with nothing: the benchmark's denominator."""
        first_pair, _, lower_U, upper_U = unique_intervals(queries)
        question = Question(self._anchors_of(queries), queries.labels_A, first_pair, lower_U, upper_U)
        ladder = self._ladder(queries, num_negatives)
        self._scan(ladder.number, question, Nearest.empty(len(lower_U), 1), 0, 1.0, compare=False)

    def step_name(self, num_negatives: int) -> str:
        """The step of the ladder that searches for so many negatives have come to."""
        return self._ladders[num_negatives].step.name if num_negatives in self._ladders else "none"

    def _ladder(self, queries: Queries, num_negatives: int) -> Ladder:
        with self._lock:
            if num_negatives not in self._ladders:
                self._ladders[num_negatives] = self._choose_first(queries, num_negatives)
            return self._ladders[num_negatives]

    def _choose_first(self, queries: Queries, num_negatives: int) -> Ladder:
        """The step that costs least, tried on a sample of the shard and of the block."""
        num_pairs = len(queries.row_P) / max(len(queries.labels_A), 1)
        num_found = num_pairs * num_negatives
        # Among n candidates in random order, the n-th is one of the m nearest of a pair with probability m / n.
        num_candidates = max(len(self._shard), num_negatives)
        needed = min(1.0, num_found * (1.0 + np.log(num_candidates / num_negatives)) / num_candidates)
        whole = [number for number, step in enumerate(self._steps) if step.num_dims is None]
        if len(self._steps) == 1 or len(self._shard) < 2 * _SAMPLE:
            return Ladder(self._steps, whole[0] if whole else 0, {}, needed)
        # Axes take a while to find. Where the search is shorter, only products of all dimensions are tried.
        axes_cycles = _AXES_CYCLES * max(1.0, (self._shard.vectors_ND.shape[1] / 128) ** 2)
        tries_all = not whole or len(self._shard) * self._steps[whole[0]].cycles > axes_cycles
        rng = np.random.default_rng(_SEED)
        order = rng.permutation(len(self._shard))
        sample, others = np.sort(order[:_SAMPLE]), np.sort(order[_SAMPLE:][:_NEGATIVES_SAMPLE])
        some = rng.permutation(len(queries.labels_A))[:_SAMPLE_ANCHORS]
        few = queries.of_pairs(np.flatnonzero(np.isin(queries.row_P, some)))
        # How near the negatives are among all decides how many are looked at, so fewer are sought among fewer.
        num_sought = max(1, round(num_negatives * len(others) / len(self._shard)))
        nearest = self._alone(others, whole[0] if whole else 0)._search(few, num_sought)
        in_vain: dict[int, float] = {}
        costs: dict[int, float] = {}
        for number in range(len(self._steps)) if tries_all else whole:
            step = self._steps[number]
            if step.cycles >= _TRIED * min(costs.values(), default=np.inf):
                break
            tried = self._alone(sample, number)
            tried._search(few, num_sought, nearest.copy())
            num_in_vain = tried.num_looked_at - tried.num_rescored
            in_vain[number] = num_in_vain / max(len(sample) * len(few.labels_A), 1)
            costs[number] = step.cost(in_vain[number], needed)
        return Ladder(self._steps, min(costs, key=costs.__getitem__), in_vain, needed)

    def _alone(self, rows: Int64Array, number: int) -> "NativeScan":
        """A search of some candidates by one step."""
        step = self._steps[number]
        scan = NativeScan(
            self._shard.take(rows), self.instruction_set, (step.kernel.element, step.num_dims), self._in_software
        )
        if step.num_dims is not None:
            scan._axes = self._axes
        return scan

    def _search(self, queries: Queries, num_negatives: int, found: Nearest | None = None) -> Nearest:
        """By the first step alone; of unique intervals, and better than what was ``found`` for them."""
        first_pair, _, lower_U, upper_U = unique_intervals(queries)
        question = Question(self._anchors_of(queries), queries.labels_A, first_pair, lower_U, upper_U)
        if found is None:
            found = Nearest.empty(len(lower_U), num_negatives)
        self._scan(0, question, found, 0, 1.0)
        return found

    def _anchors_of(self, queries: Queries) -> FloatArray:
        anchors_AD, vectors_ND = np.ascontiguousarray(queries.vectors_AD), self._shard.vectors_ND
        if anchors_AD.dtype != vectors_ND.dtype or anchors_AD.shape[1:] != vectors_ND.shape[1:]:
            raise InputError(
                f"anchors are {anchors_AD.dtype} of {anchors_AD.shape[1:]} dimensions, candidates "
                f"{vectors_ND.dtype} of {vectors_ND.shape[1:]}: embed them with one encoder"
            )
        return anchors_AD

    def _scan(
        self,
        number: int,
        question: Question,
        found: Nearest,
        position: int,
        most_in_vain: float,
        compare: bool = True,
    ) -> int:
        """Scans from a position on by one step; returns how far it came before looks in vain were too many."""
        step, shard = self._steps[number], self._shard
        filter_ = self._filter(number)
        anchors = self._round_anchors(step, filter_, question.anchors_AD)
        reached, looked_at, rescored = self._native.scan(
            shard.vectors_ND,
            shard.ids_N,
            shard.labels_N,
            question.anchors_AD,
            np.ascontiguousarray(question.labels_A, dtype=np.int32),
            question.first_pair,
            question.lower_U,
            question.upper_U,
            filter_.candidates.q_NF,
            filter_.candidates.roundings_G8,
            anchors.q_NF,
            anchors.roundings_G8,
            found.d_an_PM,
            found.id_PM,
            len(shard),
            len(question.anchors_AD),
            shard.vectors_ND.shape[1],
            found.d_an_PM.shape[1],
            shard.vectors_ND.shape[1] if filter_.projection is None else filter_.projection.num_dims,
            position,
            float64_error(shard.vectors_ND.shape[1]) if filter_.projection is None else filter_.projection.epsilon,
            most_in_vain,
            shard.vectors_ND.dtype == np.float16,
            step.kernel.number,
            self._in_software,
            compare,
        )
        self.num_looked_at += looked_at
        self.num_rescored += rescored
        return int(reached)

    def _filter(self, number: int) -> _Filter:
        with self._lock:
            if number not in self._filters:
                self._filters[number] = self._build_filter(self._steps[number])
            return self._filters[number]

    @functools.cached_property
    def _axes(self) -> PrincipalAxes:
        rows = np.random.default_rng(_SEED).permutation(len(self._shard))[:_AXES_SAMPLE]
        return PrincipalAxes.of(self._shard.vectors_ND[np.sort(rows)])

    def _drop_filters(self) -> None:
        """Frees what no search comes back to."""
        with self._lock:
            first = min(ladder.number for ladder in self._ladders.values())
            self._filters = {number: kept for number, kept in self._filters.items() if number >= first}

    def _build_filter(self, step: Step) -> _Filter:
        kernel, shard = step.kernel, self._shard
        longest = _LONGEST_INT16 if kernel.element == "int16" else _UNLIMITED
        rounder = self._rounder(kernel, True, longest)
        projection = None
        if step.num_dims is None:
            candidates = rounder.round_whole(shard.vectors_ND, self._squared_norm_N)
        else:
            projection = self._axes.prefix(step.num_dims)
            candidates = rounder.round_projected(projection, shard.vectors_ND)
        if kernel.sum_bits == 16:
            sizes = candidates.roundings_G8[:, SCALE] * candidates.roundings_G8[:, SIZE]
            longest = 2.0**16 / _RANGE / max(float(sizes.max(initial=0.0)), 1e-200)
        return _Filter(projection, candidates, longest)

    def _round_anchors(self, step: Step, filter_: _Filter, anchors_AD: FloatArray) -> FilterVectors:
        squared_norm_A = self._squared_norms(anchors_AD)
        rounder = self._rounder(step.kernel, False, filter_.longest)
        if filter_.projection is None:
            return rounder.round_whole(anchors_AD, squared_norm_A)
        return rounder.round_projected(filter_.projection, anchors_AD)

    def _rounder(self, kernel: Kernel, are_candidates: bool, longest: float) -> Rounder:
        limit = kernel.candidate_limit if are_candidates else kernel.limit
        how = (kernel.num_bytes, kernel.parts, kernel.is_float)
        return Rounder(self._native.quantise, are_candidates, limit, longest, *how)

    def _squared_norms(self, vectors_ND: npt.NDArray[np.floating]) -> Float64Array:
        if vectors_ND.dtype not in (np.float16, np.float32) or vectors_ND.ndim != 2:
            raise InputError(
                f"vectors of {vectors_ND.dtype} and shape {vectors_ND.shape} cannot be scanned: float16 or float32, "
                "N x D, is needed"
            )
        norms_N = np.empty(len(vectors_ND))
        try:
            self._native.squared_norms(vectors_ND, *vectors_ND.shape, vectors_ND.dtype == np.float16, norms_N)
        except ValueError as error:
            raise InputError(f"the scan cannot use these vectors: {error}; leave such examples out") from None
        return norms_N
