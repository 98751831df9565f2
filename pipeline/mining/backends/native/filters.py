"""What the compiled scan multiplies in the place of embeddings, and how far the products may be off.

The bound is in ``csrc/scan.h`` and, at length, in docs/exactness.md. Nothing is assumed of the data: tails, norms and
the residuals of rounding are measured for every vector. Names: N vectors, D dimensions, F dimensions of filter vectors.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, Float64Array, FloatArray

SPAN = 16384
"""Candidates that share a scale and a bound, as in the compiled module."""

_ROWS_AT_ONCE = 4096
_ONE_THREAD = 1 << 18
_SEED = 20150617  # of the random rotations, which even out dimensions: any seed gives the same answers

SCALE, SIZE, RESIDUAL, DROPPED, TAIL, LOW_HALF_NORM, HIGH_HALF_NORM, NORM = range(8)
"""The columns of roundings, as in ``Rounding`` of ``csrc/scan.h``."""


@dataclass(frozen=True)
class Projection:
    """A map from vectors x to filter vectors (MX, t, ±h), rotated.

    X is x − mean, t what M leaves out of it, and h the deviation of half its squared norm.

    Attributes:
        mean_D: Subtracted first, float64, shape (D,).
        axes_KD: M, orthonormal rows, float32, shape (K, D).
        rotation_FF: Evens out the dimensions, float32, orthogonal, shape (F, F); F is K + 2.
        half_norm: Mean and scale of half the squared norms.
    """

    mean_D: Float64Array
    axes_KD: Float32Array
    rotation_FF: Float32Array
    half_norm: tuple[float, float]

    @property
    def num_dims(self) -> int:
        """F."""
        return len(self.rotation_FF)

    @functools.cached_property
    def epsilon(self) -> float:
        """How far a product may be off for axes that are not quite orthonormal, and for roundings of float64.

        In units of (|a| + |c|)², where |x| stands for |x| + |mean|.
        """
        return 2 * _not_orthonormal(self.axes_KD) + float64_error(self.axes_KD.shape[1])

    @functools.cached_property
    def error(self) -> float:
        """How far a filter vector may be off: what a rotation that is not quite one, and float32, add to its residual.

        In units of its own length plus |x| + |mean|. A sum of n products errs by n units of 2⁻²⁴.
        """
        num_terms = self.axes_KD.shape[1] + self.num_dims + 8
        return float(2.0**-23 * np.sqrt(self.num_dims) * num_terms) + _not_orthonormal(self.rotation_FF)

    def apply(self, vectors_ND: FloatArray, are_candidates: bool) -> tuple[Float32Array, Float64Array]:
        """The filter vectors, float32, shape (N, F), and what is known before rounding, float64, shape (N, 8)."""
        x_ND = vectors_ND.astype(np.float64)
        length_N = np.sqrt(np.einsum("nd,nd->n", x_ND, x_ND)) + np.sqrt(self.mean_D @ self.mean_D)
        x_ND -= self.mean_D
        square_N = np.einsum("nd,nd->n", x_ND, x_ND)
        kept_NK = _product(x_ND.astype(np.float32), self.axes_KD)
        left_out_N = np.maximum(square_N - np.einsum("nk,nk->n", kept_NK, kept_NK), 0.0)
        # Rounding could hide a small tail; a tail that is too long costs a few looks.
        tail_N = np.sqrt(left_out_N + 2 * (self.error + self.epsilon) * length_N**2)
        mean, scale = self.half_norm
        column_N = (mean - square_N / 2) / scale if are_candidates else np.full(len(x_ND), scale)
        known_N8 = np.zeros((len(x_ND), 8))
        known_N8[:, TAIL] = tail_N
        known_N8[:, LOW_HALF_NORM] = known_N8[:, HIGH_HALF_NORM] = mean if are_candidates else square_N / 2
        known_N8[:, NORM] = length_N
        columns_NF = np.column_stack((kept_NK, tail_N, column_N)).astype(np.float32)
        return _product(columns_NF, self.rotation_FF), known_N8


@dataclass(frozen=True)
class PrincipalAxes:
    """What a sample of vectors says about all: any sample gives the same answers, and a good one fast.

    Attributes:
        mean_D: Of the sample, float64, shape (D,).
        axes_DD: Principal directions, in rows, those of the largest variance first, float32, shape (D, D).
        half_norm: Mean and scale of half the squared norms about the mean.
    """

    mean_D: Float64Array
    axes_DD: Float32Array
    half_norm: tuple[float, float]

    @classmethod
    def of(cls, sample_SD: FloatArray) -> "PrincipalAxes":
        """Those of a sample, which is not empty."""
        x_SD = sample_SD.astype(np.float64)
        mean_D = x_SD.mean(axis=0)
        x_SD -= mean_D
        _, axes_DD = np.linalg.eigh(x_SD.T @ x_SD)
        half_S = np.einsum("sd,sd->s", x_SD, x_SD) / 2
        mean = float(half_S.mean())
        scale = float(np.sqrt(np.abs(half_S - mean).max())) or 1.0
        return cls(mean_D, np.ascontiguousarray(axes_DD.T[::-1], dtype=np.float32), (mean, scale))

    def prefix(self, num_dims: int) -> Projection:
        """Onto the first directions, with two dimensions more for tail and norm: ``num_dims`` in all."""
        return Projection(self.mean_D, self.axes_DD[: num_dims - 2], _random_rotation(num_dims), self.half_norm)


def _product(x_ND: Float32Array, rows_KD: Float32Array) -> Float32Array:
    """x·rowsᵀ, float32, shape (N, K), by one thread: callers have one for each core, and those of BLAS would compete.

    OpenBLAS takes more than one thread where the product of the three sizes is above 2¹⁸.
    """
    out_NK = np.empty((len(x_ND), len(rows_KD)), dtype=np.float32)
    step = max(1, _ONE_THREAD // rows_KD.size)
    for start in range(0, len(x_ND), step):
        np.matmul(x_ND[start : start + step], rows_KD.T, out=out_NK[start : start + step])
    return out_NK


@functools.cache
def _random_rotation(num_dims: int) -> Float32Array:
    rotation, _ = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((num_dims, num_dims)))
    return rotation.astype(np.float32)


def float64_error(num_dims: int) -> float:
    """What sums of ``num_dims`` squares in float64 err by, relatively, and more."""
    return 2.0**-50 * (num_dims + 8)


def _not_orthonormal(rows_KD: Float32Array) -> float:
    """At least the spectral norm of M·Mᵀ − 1, by its Frobenius norm."""
    exact_KD = rows_KD.astype(np.float64)
    return float(np.linalg.norm(exact_KD @ exact_KD.T - np.eye(len(rows_KD))))


@dataclass(frozen=True)
class FilterVectors:
    """Rounded vectors.

    Attributes:
        q_NF: int8, shape (N, F); empty where the scan rounds the vectors as it reads them.
        roundings_G8: Of each vector of anchors, or of each span of candidates; float64, shape (G, 8).
    """

    q_NF: npt.NDArray[np.int8]
    roundings_G8: Float64Array


@dataclass(frozen=True)
class Rounder:
    """How one kernel wants anchors, or candidates, rounded: anchors have a scale each, candidates one for each span.

    Attributes:
        quantise: The compiled module's.
        are_candidates: Which of the two.
        limit: Largest |q| of a dimension; of integers.
        longest: Largest |q| of a vector; of integers.
        num_bytes: Of q; 4 where nothing is rounded.
        parts: 2 where the products of low parts are left out.
        is_float: bfloat16 instead of integers: only measured.
    """

    quantise: Callable[..., None]
    are_candidates: bool
    limit: float
    longest: float
    num_bytes: int
    parts: int
    is_float: bool

    def round_whole(self, vectors_ND: FloatArray, squared_norm_N: Float64Array) -> FilterVectors:
        """What rounding costs the vectors themselves; the scan does it again as it reads them."""
        group = SPAN if self.are_candidates else 1
        starts = np.arange(0, len(vectors_ND), group)
        roundings = np.zeros((len(starts), 8))
        if len(starts):
            largest, smallest = (reduce.reduceat(squared_norm_N, starts) for reduce in (np.maximum, np.minimum))
            roundings[:, SCALE] = 1.0
            roundings[:, SIZE] = roundings[:, NORM] = np.sqrt(largest)
            roundings[:, LOW_HALF_NORM], roundings[:, HIGH_HALF_NORM] = smallest / 2, largest / 2
        no_q = np.empty((0, 0), dtype=np.int8)
        if self.num_bytes < 4:
            self._quantise(vectors_ND, group, no_q, roundings)
        return FilterVectors(no_q, roundings)

    def round_projected(self, projection: Projection, vectors_ND: FloatArray) -> FilterVectors:
        """Filter vectors, and what rounding costs them."""
        num, group = len(vectors_ND), SPAN if self.are_candidates else 1
        f_NF = np.empty((num, projection.num_dims), dtype=np.float32)
        known_N8 = np.empty((num, 8))
        for start in range(0, num, _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            f_NF[rows], known_N8[rows] = projection.apply(vectors_ND[rows], self.are_candidates)
        roundings = np.maximum.reduceat(known_N8, np.arange(0, num, group)) if num else known_N8
        q_NF = np.empty(f_NF.shape, dtype=np.int8)
        self._quantise(f_NF, group, q_NF, roundings)
        roundings[:, RESIDUAL] += projection.error * (roundings[:, SIZE] + roundings[:, NORM])
        return FilterVectors(q_NF, roundings)

    def _quantise(self, vectors_NF: FloatArray, group: int, q_NF: npt.NDArray[Any], roundings_G8: Float64Array) -> None:
        is_half = vectors_NF.dtype == np.float16
        how = (self.limit, self.longest, self.num_bytes, self.parts, self.is_float)
        self.quantise(vectors_NF, *vectors_NF.shape, is_half, group, *how, q_NF, roundings_G8)
