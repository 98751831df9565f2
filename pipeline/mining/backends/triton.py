"""The scan on a GPU (backend `triton`): products of 16 bits and the test of the bands in one kernel.

The kernel proposes, the definition decides. For an anchor a and a candidate c the tensor cores give the *nearness*
a·c - |c|²/2, so that d = |a|² - 2 · nearness, and a band is an interval of nearness. A candidate that may, given how
far a nearness can be off, lie inside a band and be among the best so far goes on a short list. The lists are scored
again in float64. No distance matrix is ever written: beside the vectors, memory is a few hundred MB.

Axes: A anchors, P pairs, Q distinct queries (pairs of an anchor with equal bands share one), L lines (an anchor with
up to S of its queries), N candidates, C those of a tile, K splits of them, M negatives, E list entries, D dims,
W terms of a product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.mining.backends.triton_kernel import Tile, scan_kernel, unavailable_reason
from pipeline.mining.backends.triton_operands import (
    FLOATS_AT_ONCE,
    RESIDENT_WIDTH,
    Found,
    Lines,
    Operands,
    QueryBatch,
    lexsort,
)
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import NO_ID, Nearest

_UNIT_ROUNDOFF = 2.0**-24  # of float32
_TOGETHER = 16  # negatives found by one pass over the corpus; for more there is another pass, beyond those found
_SLOT_COST = {1: 1.0, 2: 1.1, 4: 1.7}  # of a tile whose lines hold so many queries: they share the product
_PADDING = 128  # candidates are padded to whole tiles
_LINES_AT_ONCE = 1 << 17  # lines times splits of a launch: about four rounds of an H100's multiprocessors
_TILES_PER_SPLIT = 8  # at least


class TritonScan:
    """The exact scan of one shard on one GPU.

    The result is that of ``reference.scan``. (The distance of two float32 vectors may differ in its last bit, about
    once in 10^8, since a float64 sum depends on its order; that of float16 vectors is exact.)
    """

    def __init__(self, shard: Shard, device: str = "cuda", tile: Tile | None = None) -> None:
        """Uploads a shard.

        Args:
            shard: Candidates.
            device: A torch device; cpu only in Triton's interpreter (TRITON_INTERPRET=1, for tests).
            tile: The shape of the kernel's work.

        Raises:
            InputError: There is no Triton, or no such device.
        """
        if reason := unavailable_reason(device):
            raise InputError(
                f"mining.backend is triton, but {reason}: run where there is a GPU and a CUDA build of torch, "
                "or set mining.backend to native or reference"
            )
        self._tile, self._device = tile or Tile(), torch.device(device)
        self._num = len(shard)
        # In random order the best so far improves about ln N times, and neighbours lie in different tiles.
        order_N = torch.randperm(self._num, generator=torch.Generator().manual_seed(0)).to(self._device)
        padding = -self._num % _PADDING
        self._ids_N, self._labels_N, self._vectors_ND = (
            torch.cat([x[order_N], x.new_zeros((padding, *x.shape[1:]))])
            for x in map(self._upload, (shard.ids_N, shard.labels_N, shard.vectors_ND))
        )
        self._operands: dict[bool, Operands] = {}

    def __call__(self, queries: Queries, num_negatives: int) -> tuple[Nearest, int]:
        """The nearest negatives of every pair; and 0, the number of pairs that an exact scan had to answer instead.

        Args:
            queries: Pairs and their bands.
            num_negatives: M.

        Raises:
            InputError: An embedding does not fit into 16 bits.
        """
        if self._num == 0 or len(queries.row_P) == 0:
            return Nearest.empty(len(queries.row_P), num_negatives), 0
        with torch.cuda.device_of(self._ids_N):  # type: ignore[no-untyped-call]
            batch, query_P = self._build_batch(queries)
            parts: list[Found] = []
            for start in range(0, num_negatives, _TOGETHER):
                if parts:
                    batch = replace(batch, after_d_Q=parts[-1].d_QM[:, -1], after_id_Q=parts[-1].id_QM[:, -1])
                parts.append(self._search(batch, min(_TOGETHER, num_negatives - start)))
            d_PM = torch.cat([part.d_QM for part in parts], dim=1)[query_P]
            id_PM = torch.cat([part.id_QM for part in parts], dim=1)[query_P]
        return Nearest(d_PM.cpu().numpy(), id_PM.cpu().numpy()), 0

    def _upload(self, array: Any) -> Tensor:  # noqa: ANN401
        return torch.tensor(array, device=self._device)

    def _build_batch(self, queries: Queries) -> tuple[QueryBatch, Tensor]:
        """The distinct queries of a call, and which of them is each pair's."""
        row_P, lower_P, upper_P = map(self._upload, (queries.row_P, queries.lower_P, queries.upper_P))
        vectors_AD = self._upload(queries.vectors_AD)
        order_P = lexsort(upper_P, lower_P, row_P)
        new_P = torch.ones_like(order_P, dtype=torch.bool)
        sorted_columns = [x[order_P] for x in (row_P, lower_P, upper_P)]
        new_P[1:] = torch.stack([x[1:] != x[:-1] for x in sorted_columns]).any(dim=0)
        query_P = torch.empty_like(order_P)
        query_P[order_P] = new_P.cumsum(0) - 1
        anchor_Q, lower_Q, upper_Q = (x[new_P] for x in sorted_columns)
        # Where a band has a lower edge, negatives crowd around it, and all that cannot be told from it go on the lists:
        # one product of float32 vectors cut to 16 bits is too coarse for that, three are as good as float32.
        split = vectors_AD.dtype == torch.float32 and bool((lower_Q > 0).any())
        if split not in self._operands:
            self._operands = {}  # make room first
            self._operands[split] = Operands.of(self._vectors_ND, split, "candidates")
        operands = Operands.of(vectors_AD, split, "anchors"), self._operands[split]
        after = torch.full_like(lower_Q, -torch.inf), torch.full_like(anchor_Q, -1)
        labels_A = self._upload(queries.labels_A)
        return QueryBatch(labels_A, vectors_AD, *operands, anchor_Q, lower_Q, upper_Q, *after), query_P

    def _search(self, batch: QueryBatch, num_negatives: int) -> Found:
        """One pass: at most ``_TOGETHER`` negatives of every query."""
        shape, device = (len(batch.anchor_Q), num_negatives), self._device
        found = Found(torch.full(shape, torch.inf, device=device), torch.full(shape, NO_ID, device=device))
        lines = self._lines(batch, _places(num_negatives))
        at_once = _LINES_AT_ONCE // self._tile.anchors * self._tile.anchors
        index_L = torch.arange(len(lines.anchor_L), device=device)
        for start in range(0, len(index_L), at_once):
            part = lines.take(index_L[start : start + at_once], self._tile.anchors)
            for query_E, code_E in self._survivors(part, batch, num_negatives):
                self._score(batch, query_E, code_E, found)
        return found

    def _lines(self, batch: QueryBatch, places: int) -> Lines:
        """Arranges queries in lines, with as many slots as make the scan fast."""
        count_A = batch.anchor_Q.bincount(minlength=len(batch.labels_A))
        costs = {s: float((-(-count_A // s)).sum()) * cost for s, cost in _SLOT_COST.items() if s * places <= _TOGETHER}
        num_slots = min(costs, key=lambda s: costs[s])
        lines_A = -(-count_A // num_slots)
        rank_Q = torch.arange(len(batch.anchor_Q), device=self._device) - (count_A.cumsum(0) - count_A)[batch.anchor_Q]
        line_Q = (lines_A.cumsum(0) - lines_A)[batch.anchor_Q] + rank_Q // num_slots
        anchor_L = torch.arange(len(count_A), device=self._device).repeat_interleave(lines_A)

        tolerance_A, scale_A = self._tolerance(batch)
        norm_Q, tolerance_Q, scale_Q = (x[batch.anchor_Q] for x in (batch.anchors.norm_N, tolerance_A, scale_A))
        lower_Q = torch.maximum(batch.lower_Q, batch.after_d_Q)  # ties with it are within the tolerance
        ceiling_Q = (norm_Q.square() - lower_Q.double().clamp(-scale_Q, 2 * scale_Q)) / 2 + tolerance_Q
        floor_Q = (norm_Q.square() - batch.upper_Q.double().clamp(-scale_Q, 2 * scale_Q)) / 2 - tolerance_Q
        columns = []
        for unused, column_Q in ((-1, torch.arange(len(line_Q), device=self._device)), (0, ceiling_Q), (1, floor_Q)):
            dtype = torch.int64 if unused == -1 else torch.float32
            column = torch.full((num_slots, len(anchor_L)), unused, dtype=dtype, device=self._device)
            column[rank_Q % num_slots, line_Q] = column_Q.to(dtype)
            columns.append(column)
        return Lines(anchor_L, tolerance_A[anchor_L].float(), *columns)

    def _tolerance(self, batch: QueryBatch) -> tuple[Tensor, Tensor]:
        """How far the nearness of each anchor and any candidate can be off, and a bound on their distance; float64.

        What the operands leave out is bounded by Cauchy and Schwarz. Tensor cores multiply exactly, align blocks of
        b >= 4 terms and the sum so far with the largest of them, and truncate (Fasi et al. 2021, PeerJ CS 7:e330): at
        most 2 u |a||c| (b + 1) / b a term, here 3 u. The rest is for the roundings of norms, limits and float32(d).
        """
        anchors, candidates, num_dims = batch.anchors, batch.candidates, self._vectors_ND.shape[1]
        norm, low, rest = (float(x.max()) for x in (candidates.norm_N, candidates.low_N, candidates.rest_N))
        cut_A = anchors.low_N * low + anchors.rest_N * norm + (anchors.norm_N + anchors.rest_N) * rest
        summed_A = 3 * _UNIT_ROUNDOFF * (num_dims + 16) * anchors.norm_N * norm
        scale_A = (anchors.norm_N + norm).square()
        return cut_A + summed_A + 8 * _UNIT_ROUNDOFF * scale_A, scale_A

    def _survivors(self, lines: Lines, batch: QueryBatch, num_negatives: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Queries and codes of the list entries of some lines; a list that is too short is no loss.

        Its line is scanned again, by halves of the tiles and from the limits already reached. A tile makes at most one
        entry a query, so this ends.
        """
        pending = [(lines, 0, -(-self._num // self._tile.candidates))]
        while pending:
            lines, first, last = pending.pop()
            query_E, code_E, overflown_L = self._launch(lines, batch, num_negatives, first, last)
            yield query_E, code_E
            if bool(overflown_L.any()):
                again, middle = lines.take(overflown_L.nonzero()[:, 0], self._tile.anchors), (first + last) // 2
                pending += [(again, middle, last), (again, first, middle)]

    def _launch(self, lines: Lines, batch: QueryBatch, num_negatives: int, first: int, last: int) -> tuple[Tensor, ...]:
        """Runs the kernel over a range of tiles, and moves the lines' limits.

        Returns:
            Question and code of each entry that may still be among the best; and the lines that have none of them yet,
            because a list was too short.
        """
        tile, num_lines, num_slots = self._tile, len(lines.anchor_L), len(lines.floor_SL)
        splits = max(1, min(_LINES_AT_ONCE // num_lines, (last - first) // _TILES_PER_SPLIT))
        tiles_per_split = -(-(last - first) // splits)
        splits = -(-(last - first) // tiles_per_split)
        capacity = tile.capacity + 16 * num_negatives
        anchors_LW = batch.anchors.matrix_NW[lines.anchor_L]
        half_norms_N = (batch.candidates.norm_N.square() / 2).float()
        half_norms_N[self._num :] = torch.inf  # padding is infinitely far
        near_KSLE = anchors_LW.new_empty((splits, num_slots, num_lines, capacity), dtype=torch.float32)
        code_KSLE = torch.empty_like(near_KSLE, dtype=torch.int32)
        reached_KSL = torch.empty_like(near_KSLE[..., 0])
        count_KSL = torch.empty_like(reached_KSL, dtype=torch.int32)
        width = anchors_LW.shape[1]
        resident = width <= RESIDENT_WIDTH
        scan_kernel[(num_lines // tile.anchors, splits)](
            anchors_LW, batch.candidates.matrix_NW, half_norms_N, batch.labels_A[lines.anchor_L], self._labels_N,
            lines.tolerance_L, lines.ceiling_SL, lines.floor_SL, near_KSLE, code_KSLE, count_KSL, reached_KSL,
            first, last, tiles_per_split, num_lines,
            LINES=tile.anchors, TILE=tile.candidates, WIDTH=width, STEP=width if resident else tile.width,
            SLOTS=num_slots, NUM_NEGATIVES=num_negatives, PLACES=_places(num_negatives), CAPACITY=capacity,
            num_warps=tile.warps, num_stages=tile.stages if resident else tile.stages + 1, maxnreg=tile.registers,
            enable_fp_fusion=True,
        )  # fmt: skip
        lines.floor_SL.copy_(reached_KSL.amax(dim=0))
        overflown_L = (count_KSL > capacity).any(dim=0).any(dim=0)
        listed_KSLE = torch.arange(capacity, device=self._device) < count_KSL[..., None]
        listed_KSLE &= (near_KSLE >= lines.floor_SL[..., None]) & ~overflown_L[:, None]
        slot_E, line_E = listed_KSLE.nonzero(as_tuple=True)[1:3]
        return lines.query_SL[slot_E, line_E], code_KSLE[listed_KSLE].long(), overflown_L

    def _score(self, batch: QueryBatch, query_E: Tensor, code_E: Tensor, found: Found) -> None:
        """Scores what list entries stand for by the defined distance, and keeps what is inside its band."""
        for width in (1, self._tile.candidates):  # a code is a candidate or, below zero, a whole tile
            at_once = max(1, FLOATS_AT_ONCE // (width * self._vectors_ND.shape[1]))
            chosen = ((code_E < 0) == (width > 1)).nonzero()[:, 0]
            for start in range(0, len(chosen), at_once):
                some = chosen[start : start + at_once]
                first_E = code_E[some] if width == 1 else (-1 - code_E[some]) * width
                row_E = (first_E[:, None] + torch.arange(width, device=self._device)).flatten()
                query = query_E[some].repeat_interleave(width)
                anchor = batch.anchor_Q[query]
                other = (row_E < self._num) & (self._labels_N[row_E] != batch.labels_A[anchor])
                row_E, query, anchor = row_E[other], query[other], anchor[other]
                difference_ED = batch.vectors_AD[anchor].double() - self._vectors_ND[row_E].double()
                d_E, id_E = difference_ED.square().sum(dim=1).float(), self._ids_N[row_E]
                inside = (batch.lower_Q[query] < d_E) & (d_E < batch.upper_Q[query])
                after_d, after_id = batch.after_d_Q[query], batch.after_id_Q[query]
                inside &= (d_E > after_d) | ((d_E == after_d) & (id_E > after_id))
                found.push(query[inside], d_E[inside], id_E[inside])


def _places(num_negatives: int) -> int:
    return 1 << (num_negatives - 1).bit_length()
