"""What the scan on a GPU holds on the device: operands of the product, queries, rows of the kernel, the best so far.

The axes are those of ``triton.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from pipeline.errors import InputError

FLOATS_AT_ONCE = 1 << 24  # in a step of preparing vectors or scoring again
RESIDENT_WIDTH = 128  # anchors of so many terms stay in shared memory


@dataclass(frozen=True)
class Operands:
    """Vectors as the kernel multiplies them: in parts of 16 bits, and the norms of what these parts are not.

    One part a vector, or the three products low·high, high·low, high·high: in that order, so that all but the last
    accumulate at 2^-11 of its size and lose as much less.
    """

    matrix_NW: Tensor
    norm_N: Tensor  # |x|, float64
    low_N: Tensor  # |low part|
    rest_N: Tensor  # |x - its parts|

    @classmethod
    def of(cls, vectors_ND: Tensor, split: bool, order: Literal["anchors", "candidates"]) -> Self:
        """Splits and pads vectors, a few at a time."""
        num, num_dims = vectors_ND.shape
        short = num_dims <= RESIDENT_WIDTH and not split
        width = max(16, 1 << (num_dims - 1).bit_length()) if short else -(-num_dims // 64) * 64
        matrix = vectors_ND.new_zeros((num, 3 if split else 1, width), dtype=torch.float16)
        norms = vectors_ND.new_zeros((3, num), dtype=torch.float64)
        at_once = max(1, FLOATS_AT_ONCE // num_dims)
        for start in range(0, num, at_once):
            rows = slice(start, start + at_once)
            x = vectors_ND[rows].double()
            high = x.half()
            low = (x - high.double()).half() if split else torch.zeros_like(high)
            parts = ([low, high, high] if order == "anchors" else [high, low, high]) if split else [high]
            matrix[rows, :, :num_dims] = torch.stack(parts, dim=1)
            for norm, part in zip(norms, (x, low.double(), x - high.double() - low.double()), strict=True):
                norm[rows] = torch.linalg.vector_norm(part, dim=1)
        if not bool(norms.isfinite().all()):
            raise InputError(
                "mining.backend triton works in 16 bits, and an embedding has a value beyond 65504: "
                "normalise the embeddings, or set mining.backend to native or reference"
            )
        return cls(matrix.flatten(1), *norms)


@dataclass(frozen=True)
class QueryBatch:
    """The distinct queries of a call, those of an anchor together, and the anchors they are about."""

    labels_A: Tensor
    vectors_AD: Tensor
    anchors: Operands
    candidates: Operands
    anchor_Q: Tensor
    lower_Q: Tensor
    upper_Q: Tensor
    after_d_Q: Tensor  # only what comes after this distance and id is wanted: what earlier passes found is known
    after_id_Q: Tensor


@dataclass(frozen=True)
class Lines:
    """Rows of the kernel: an anchor and up to S of its queries, as intervals of nearness."""

    anchor_L: Tensor
    tolerance_L: Tensor
    query_SL: Tensor  # -1: an unused slot, whose interval is empty
    ceiling_SL: Tensor
    floor_SL: Tensor

    def take(self, index: Tensor, multiple: int) -> Self:
        """Some lines, filled up to a multiple with lines that ask nothing."""
        num = len(index)
        index = torch.cat([index, index[:1].expand(-num % multiple)])
        some = type(self)(self.anchor_L[index], self.tolerance_L[index], *(x[:, index] for x in self._slots()))
        for tensor, unused in zip(some._slots(), (-1, 0.0, 1.0), strict=True):
            tensor[:, num:] = unused
        return some

    def _slots(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.query_SL, self.ceiling_SL, self.floor_SL


@dataclass(frozen=True)
class Found:
    """The best M so far of each query, on the device: as ``topk.Nearest``."""

    d_QM: Tensor
    id_QM: Tensor

    def push(self, query_E: Tensor, d_E: Tensor, id_E: Tensor) -> None:
        """Takes in found candidates, none of which is held already."""
        num_negatives = self.d_QM.shape[1]
        touched = torch.unique_consecutive(query_E.sort().values)
        query_E = torch.cat([touched.repeat_interleave(num_negatives), query_E])
        d_E = torch.cat([self.d_QM[touched].flatten(), d_E])
        id_E = torch.cat([self.id_QM[touched].flatten(), id_E])
        order = lexsort(id_E, d_E, query_E)
        query_E = query_E[order]
        rank_E = torch.arange(len(order), device=order.device) - torch.searchsorted(query_E, query_E)
        best = rank_E < num_negatives
        order, query_E, rank_E = order[best], query_E[best], rank_E[best]
        self.d_QM[query_E, rank_E] = d_E[order]
        self.id_QM[query_E, rank_E] = id_E[order]


def lexsort(*keys: Tensor) -> Tensor:
    """The order of several columns, the last of which comes first, as ``numpy.lexsort``."""
    order = keys[0].argsort(stable=True)
    for key in keys[1:]:
        order = order[key[order].argsort(stable=True)]
    return order
