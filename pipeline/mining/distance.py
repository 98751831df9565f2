"""The one definition of a distance, and a bound on how far a fast product may be from it.

Every distance that is compared with a band, ranked or published is ``float32(sum((a - b)**2 in float64))``.
It depends on the two vectors alone, never on tiles, shards or threads: that is why any split of the corpus
gives the same triplets to the bit.
"""

import numpy as np

from pipeline.arrays import Float32Array, Float64Array, FloatArray

_UNIT_ROUNDOFF = 2.0**-24  # of float32
_ROWS_AT_ONCE = 1 << 12


def squared_distances(x_PD: FloatArray, y_PD: FloatArray) -> Float64Array:
    """Squared L2 distance of each row of ``x_PD`` to the same row of ``y_PD``.

    Args:
        x_PD: Vectors, float16 or float32, shape (P, D).
        y_PD: Vectors of the same shape.

    Returns:
        float64, shape (P,); in [0, 4] for unit vectors. Round to float32 for the published value.
    """
    out_P = np.empty(len(x_PD), dtype=np.float64)
    for start in range(0, len(x_PD), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        difference = x_PD[rows].astype(np.float64) - y_PD[rows].astype(np.float64)
        np.einsum("pd,pd->p", difference, difference, out=out_P[rows])
    return out_P


def squared_norms(x_ND: FloatArray) -> Float64Array:
    """Squared L2 norm of each row, float64, shape (N,)."""
    return squared_distances(x_ND, np.zeros_like(x_ND))


def approximate_distances(
    a_AD: Float32Array, a_norm_A: Float64Array, c_CD: Float32Array, c_norm_C: Float64Array
) -> Float32Array:
    """All squared distances by one float32 matrix product: fast, and wrong by up to ``error_bound``.

    Args:
        a_AD: float32 vectors, shape (A, D).
        a_norm_A: Their squared norms, float64, shape (A,).
        c_CD: float32 vectors, shape (C, D).
        c_norm_C: Their squared norms, float64, shape (C,).

    Returns:
        float32, shape (A, C).
    """
    distances_AC = a_AD @ c_CD.T
    distances_AC *= -2.0
    distances_AC += a_norm_A.astype(np.float32)[:, None]
    distances_AC += c_norm_C.astype(np.float32)[None, :]
    return distances_AC


def error_bound(num_dims: int, a_norm_A: Float64Array, c_norm_C: Float64Array) -> np.float32:
    """Largest difference between ``approximate_distances`` and the defined distance.

    The product of D terms errs by at most D·u·|a|·|c| (Higham, Accuracy and Stability of Numerical
    Algorithms, 2nd ed., eq. 3.5), doubled by the factor 2; the roundings of the norms, the sums and the result
    are a few more units of the largest squared norm. The bound holds for any order of summation, with or without FMA.
    """
    if len(a_norm_A) == 0 or len(c_norm_C) == 0:
        return np.float32(0.0)
    largest = max(float(a_norm_A.max()), float(c_norm_C.max()))
    return np.float32(_UNIT_ROUNDOFF * (2 * num_dims + 32) * largest)
