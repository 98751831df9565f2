"""The kernel of the GPU scan: one program streams candidates past a block of anchors. ``triton.py`` runs it.

Axes: L lines (an anchor with up to S of its queries), N candidates, C those of a tile, K splits of them, M negatives,
E list entries, W terms of a product. Triton compiles these functions: no stars, no globals of Python's.
"""

from __future__ import annotations  # tl.constexpr is not there where Triton is not

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, no_type_check

import torch


def _optional(name: str) -> Any:  # noqa: ANN401 — Triton ships no types
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


triton, tl = _optional("triton"), _optional("triton.language")


@dataclass(frozen=True)
class Tile:
    """The shape of a program's work, to be tuned for a card.

    Attributes:
        anchors: Lines of a program, a power of two, at least 16.
        candidates: Candidates of a step, a power of two from 16 to 128.
        width: Terms of a product taken at a time where anchors have too many to stay in shared memory; divides 64.
        stages: Tiles of candidates in shared memory at a time; where anchors do not stay, one step more.
        warps: Warps of a program.
        registers: Cap for a thread, such that two programs share a multiprocessor: one multiplies, one compares.
        capacity: Entries of the list of one query and split, more for several negatives.
    """

    anchors: int = 128
    candidates: int = 128
    width: int = 64
    stages: int = 2
    warps: int = 8
    registers: int = 128
    capacity: int = 48


def unavailable_reason(device: str = "cuda") -> str | None:
    """Why the scan cannot run on a torch device; None where it can."""
    if triton is None:
        return "Triton is not installed here"
    if torch.device(device).type == "cpu":
        return "the CPU is to run it" if isinstance(scan_kernel, triton.runtime.JITFunction) else None
    return None if torch.cuda.is_available() else "torch finds no CUDA device here"


def _jit(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    unspecialized = ["first_tile", "last_tile", "tiles_per_split"]  # one compiled kernel serves any range of tiles
    return function if triton is None else triton.jit(function, do_not_specialize=unspecialized)


@_jit
@no_type_check
def _put(values, slot: tl.constexpr, value):
    """A tuple of blocks, one a slot, with one of them replaced or appended."""
    return values[:slot] + (value,) + values[slot + 1 :]  # noqa: RUF005 — Triton has no stars


@_jit
@no_type_check
def _record(
    near_LC, label_L, label_C, margin_L, ceiling_L, reached_L, best_LM, count_L, near_out_L, code_out_L, tile,
    TILE: tl.constexpr, PLACES: tl.constexpr, CAPACITY: tl.constexpr,
):  # fmt: skip
    """Lists what a tile has for one slot of the lines, and moves the limits that the slot has reached."""
    fits_LC = (label_L[:, None] != label_C[None, :]) & (near_LC <= ceiling_L[:, None])
    near_LC = tl.where(fits_LC, near_LC, float("-inf"))
    near_L = tl.max(near_LC, axis=1)
    if tl.max((near_L >= reached_L).to(tl.int32), axis=0) > 0:  # it was not only the anchors' own label
        # Surely beyond the lower edge; where the upper edge deceives, the limit is still below all that is inside.
        sure_L = tl.max(tl.where(near_LC < (ceiling_L - margin_L)[:, None], near_LC, float("-inf")), axis=1)
        # The M-th nearest of the tiles' nearest sure candidates: nothing farther is among the M nearest.
        lowest_L, worst_L = tl.min(best_LM, axis=1, return_indices=True)
        worst_LM = tl.arange(0, PLACES)[None, :] == worst_L[:, None]
        best_LM = tl.where(worst_LM, tl.maximum(lowest_L, sure_L)[:, None], best_LM)
        reached_L = tl.maximum(reached_L, tl.min(best_LM, axis=1) - margin_L)
        # One sum counts a line's survivors (above bit 16) and, where there is one, tells its column (below).
        sum_L = tl.sum(tl.where(near_LC >= reached_L[:, None], 65536 + tl.arange(0, TILE)[None, :], 0), axis=1)
        code_L = tl.where(sum_L < 2 * 65536, tile * TILE + sum_L - 65536, -1 - tile)
        survives_L = near_L >= reached_L
        room_L = survives_L & (count_L < CAPACITY)
        tl.store(near_out_L + count_L, near_L, mask=room_L)
        tl.store(code_out_L + count_L, code_L, mask=room_L)
        count_L += survives_L.to(tl.int32)
    return reached_L, best_LM, count_L


@_jit
@no_type_check
def scan_kernel(
    anchors_LW, candidates_NW, half_norms_N, labels_L, labels_N, tolerances_L, ceilings_SL, floors_SL,
    near_KSLE, code_KSLE, count_KSL, reached_KSL, first_tile, last_tile, tiles_per_split, num_lines,
    LINES: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr, STEP: tl.constexpr, SLOTS: tl.constexpr,
    NUM_NEGATIVES: tl.constexpr, PLACES: tl.constexpr, CAPACITY: tl.constexpr,
):  # fmt: skip
    """Streams one split of the candidates past one block of lines.

    A tile costs its product and, for each slot, one subtraction and one minimum a pair: the distance from the middle
    of the interval still open tells whether any candidate of a line is inside. All else is under a scalar branch.
    """
    line_L = tl.program_id(0) * LINES + tl.arange(0, LINES)
    split = tl.program_id(1)
    column_C, term_W = tl.arange(0, TILE), tl.arange(0, STEP)
    first = first_tile + split * tiles_per_split
    last = tl.minimum(first + tiles_per_split, last_tile)
    anchor_at_LW = anchors_LW + line_L.to(tl.int64)[:, None] * WIDTH + term_W[None, :]
    candidate_at_WC = candidates_NW + first.to(tl.int64) * (TILE * WIDTH) + column_C[None, :] * WIDTH + term_W[:, None]
    if STEP == WIDTH:
        anchor_LW = tl.load(anchor_at_LW)
    label_L = tl.load(labels_L + line_L)
    margin_L = 2 * tl.load(tolerances_L + line_L)
    empty_LM = tl.where(tl.arange(0, PLACES)[None, :] < NUM_NEGATIVES, float("-inf"), float("inf"))
    ceilings, reached, best, counts = (), (), (), ()
    for slot in tl.static_range(SLOTS):
        ceilings = _put(ceilings, slot, tl.load(ceilings_SL + slot * num_lines + line_L))
        reached = _put(reached, slot, tl.load(floors_SL + slot * num_lines + line_L))
        best = _put(best, slot, empty_LM + tl.zeros([LINES, PLACES], dtype=tl.float32))
        counts = _put(counts, slot, tl.zeros([LINES], dtype=tl.int32))
    for tile in tl.range(first, last):
        half_norm_C = tl.load(half_norms_N + tile * TILE + column_C)
        product_LC = tl.zeros([LINES, TILE], dtype=tl.float32)
        if STEP == WIDTH:
            product_LC = tl.dot(anchor_LW, tl.load(candidate_at_WC), product_LC)
        else:
            for term in tl.range(0, WIDTH, STEP):
                product_LC = tl.dot(tl.load(anchor_at_LW + term), tl.load(candidate_at_WC + term), product_LC)
        candidate_at_WC += TILE * WIDTH
        near_LC = product_LC - half_norm_C[None, :]
        for slot in tl.static_range(SLOTS):
            ceiling_L, reached_L = ceilings[slot], reached[slot]
            middle_L = 0.5 * (ceiling_L + reached_L)
            open_L = 0.5 * (ceiling_L - reached_L) + 1e-6 * (tl.abs(ceiling_L) + tl.abs(reached_L))  # and roundings
            away_L = tl.min(tl.abs(near_LC - middle_L[:, None]), axis=1)
            if tl.max((away_L <= open_L).to(tl.int32), axis=0) > 0:
                label_C = tl.load(labels_N + tile * TILE + column_C)
                entry_L = ((split * SLOTS + slot).to(tl.int64) * num_lines + line_L) * CAPACITY
                state = _record(
                    near_LC, label_L, label_C, margin_L, ceiling_L, reached_L, best[slot], counts[slot],
                    near_KSLE + entry_L, code_KSLE + entry_L, tile, TILE, PLACES, CAPACITY,
                )  # fmt: skip
                reached = _put(reached, slot, state[0])
                best = _put(best, slot, state[1])
                counts = _put(counts, slot, state[2])
    for slot in tl.static_range(SLOTS):
        at_L = (split * SLOTS + slot).to(tl.int64) * num_lines + line_L
        tl.store(count_KSL + at_L, counts[slot])
        tl.store(reached_KSL + at_L, reached[slot])
