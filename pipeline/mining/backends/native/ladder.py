"""The ladder: the products that the compiled scan can multiply, from coarse and cheap to fine and dear.

A coarse product leaves more candidates to look at. Which step pays depends on the embeddings, and on what is asked; no
step changes an answer.
"""

import math
import threading
from dataclasses import dataclass
from typing import Literal

InstructionSet = Literal["portable", "neon", "avx2", "avxvnni", "avx512", "avx512vnni", "amx"]
Element = Literal["int8", "int16", "int8x2", "bfloat16", "bfloat16x2", "float32"]

_LOOK = 60.0  # cycles of a look at a candidate
_TILE, _TILE_CYCLES = 512, 100.0  # of finding what survived among so many products
_AMX_TILE_CYCLES = 350.0  # its tiles wait meanwhile

_ANCHOR, _PROJECTED = 500.0, 20.0  # cycles of an anchor's filter vector, and multiplications of them a cycle

_PREFIXES = (16, 24, 32, 48, 64, 96, 128, 192, 256)

_CYCLES: dict[tuple[str, str], tuple[float, float]] = {
    ("portable", "float32"): (20.0, 8.0),
    ("neon", "int8"): (8.0, 1.0),
    ("neon", "float32"): (10.0, 4.0),
    ("avx2", "int8"): (2.0, 0.53),
    ("avx2", "int16"): (4.0, 1.06),
    ("avx2", "float32"): (4.0, 1.47),
    ("avxvnni", "int8"): (3.0, 0.41),
    ("avxvnni", "int16"): (3.0, 0.77),
    ("avxvnni", "float32"): (4.0, 1.47),
    ("avx512", "int8"): (1.0, 0.45),
    ("avx512", "int16"): (2.0, 0.78),
    ("avx512", "float32"): (3.0, 0.95),
    ("avx512vnni", "int8"): (2.0, 0.24),
    ("avx512vnni", "int16"): (2.0, 0.48),
    ("avx512vnni", "float32"): (3.0, 0.95),
    ("amx", "int8"): (6.5, 0.033),
    ("amx", "bfloat16"): (2.5, 0.134),
    ("amx", "int8x2"): (4.0, 0.19),
    ("amx", "bfloat16x2"): (3.0, 0.29),
    ("amx", "float32"): (3.0, 0.95),
}
"""Cycles for the products of one candidate with 32 anchors: of the epilogue, and of each dimension.

Measured on one processor (docs/benchmarks.md), but for NEON's, which are on paper. On others the ratios differ, which
costs time but no answer.
"""


@dataclass(frozen=True)
class Kernel:
    """A matrix product of the compiled module: an entry of its table.

    Attributes:
        number: Its place there.
        instruction_set: What it needs.
        element: What it multiplies.
        sum_bits: Its sums are modulo 2 to this power.
        limit: Largest |q| of an anchor.
        candidate_limit: Largest |q| of a candidate.
        num_bytes: Of q.
        parts: 2 where high and low parts are multiplied apart.
        is_float: Its sums are float32, else integers.
        piece: Dimensions come in multiples of this.
    """

    number: int
    instruction_set: InstructionSet
    element: Element
    sum_bits: int
    limit: int
    candidate_limit: int
    num_bytes: int
    parts: int
    is_float: bool
    piece: int


@dataclass(frozen=True)
class Step:
    """A product that the scan may use.

    Attributes:
        kernel: What multiplies.
        num_dims: Dimensions of the prefix; None for all.
        cycles: For the products of one candidate with 32 anchors.
    """

    kernel: Kernel
    num_dims: int | None
    cycles: float

    @property
    def name(self) -> str:
        """As reports show it."""
        return self.kernel.element + (f"/{self.num_dims}" if self.num_dims else "")

    def cost(self, in_vain: float, needed: float) -> float:
        """Cycles for the products of one candidate with 32 anchors, and for looks: so many of each kind a product."""
        tile_cycles = _AMX_TILE_CYCLES if self.kernel.instruction_set == "amx" else _TILE_CYCLES
        is_hit = 1.0 - math.exp(-_TILE * (in_vain + needed))
        return self.cycles + 32 * (_LOOK * in_vain + tile_cycles / _TILE * is_hit)


def list_steps(kernels: list[Kernel], num_dims: int, num_candidates: int = 1 << 30) -> list[Step]:
    """The steps for vectors of ``num_dims`` dimensions, cheapest first, by the kernels of one instruction set.

    With few candidates, it counts that anchors are projected onto a prefix first.
    """
    steps = []
    for kernel in kernels:
        epilogue, dimension = _CYCLES[kernel.instruction_set, kernel.element]
        prefixes = [p for p in _PREFIXES if p % kernel.piece == 0 and p < num_dims] if kernel.element == "int8" else []
        for prefix in [*prefixes, None]:
            padded = -(-(prefix or num_dims) // kernel.piece) * kernel.piece
            projecting = (
                0.0 if prefix is None else 32 * (_ANCHOR + num_dims * prefix / _PROJECTED) / max(num_candidates, 1)
            )
            steps.append(Step(kernel, prefix, epilogue + dimension * padded + projecting))
    return sorted(steps, key=lambda step: step.cycles)


class Ladder:
    """Where a search stands among the steps. It only climbs: what was found too coarse once is not tried again."""

    def __init__(self, steps: list[Step], first: int, in_vain: dict[int, float], needed: float) -> None:
        """Begins at a step.

        Args:
            steps: As ``list_steps`` gave them.
            first: The first step's number.
            in_vain: Looks in vain a product that a sample had, for the steps that were tried; others expect none.
            needed: Looks a product that find an answer.
        """
        self._steps = steps
        self._in_vain = in_vain
        self._needed = needed
        self._lock = threading.Lock()
        self.number = first

    @property
    def step(self) -> Step:
        """The step to use."""
        return self._steps[self.number]

    def most_in_vain(self, number: int) -> float:
        """Looks in vain a product beyond which a step finer than ``number`` pays, well and truly; 1 where none is."""
        low, high = 0.0, 1.0
        if number + 1 == len(self._steps) or not self._pays(number, high):
            return high
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if self._pays(number, middle) else (middle, high)
        return low

    def climb(self, from_number: int) -> None:
        """To the finer step that is expected to cost least; unless another block has climbed from there already."""
        finer = self._finer_costs(from_number, self.most_in_vain(from_number))
        with self._lock:
            if self.number == from_number:
                self.number = min(finer, key=finer.__getitem__)

    def _pays(self, number: int, in_vain: float) -> bool:
        cost = self._steps[number].cost(in_vain, self._needed)
        return cost > 1.1 * min(self._finer_costs(number, in_vain).values())

    def _finer_costs(self, number: int, in_vain: float) -> dict[int, float]:
        """Costs of the steps beyond one that looks in vain so often.

        Where that is more often than in the sample, as while the negatives are still far, it is so for the others, too.
        """
        expected = self._in_vain.get(number, 0.0)
        factor = max(1.0, in_vain / expected) if expected > 0.0 else 1.0
        return {
            finer: self._steps[finer].cost(min(1.0, factor * self._in_vain.get(finer, 0.0)), self._needed)
            for finer in range(number + 1, len(self._steps))
        }
