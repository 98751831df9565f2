"""The band: where, for a given d_ap, a negative is wanted. One primitive serves every mining mode."""

import numpy as np

from pipeline.arrays import Float32Array, Float64Array, FloatArray
from pipeline.config import BandConfig


def band_bounds(band: BandConfig, d_ap_P: FloatArray) -> tuple[Float32Array, Float32Array]:
    """The open interval in which d_an is wanted, for each (anchor, positive) pair.

    =============== ======================= ===================== ===========================================
    mode            lower                   upper                 source
    =============== ======================= ===================== ===========================================
    hard            -inf                    inf                   FaceNet §3.2, argmin
    semi_hard       d_ap                    d_ap + margin         FaceNet §3.2, eq. 4
    positive_aware  ratio · d_ap + offset   inf                   after NV-Retriever (2407.15831) §3
    range           low                     high
    =============== ======================= ===================== ===========================================

    Args:
        band: Mode and numbers, on squared distances.
        d_ap_P: Squared distances anchor to positive, float64 or as published, shape (P,).

    Returns:
        Lower and upper bounds of the published d_ap, float32, shape (P,), rounded inwards: a float32 d_an strictly
        between them is strictly inside the band by real numbers too.
    """
    d_P = d_ap_P.astype(np.float32).astype(np.float64)
    lower_P = np.full_like(d_P, -np.inf)
    upper_P = np.full_like(d_P, np.inf)
    match band.mode:
        case "hard":
            pass
        case "semi_hard":
            lower_P, upper_P = d_P, d_P + band.margin
        case "positive_aware":
            lower_P = band.ratio * d_P + band.offset
        case "range":
            lower_P[:], upper_P[:] = band.low, band.high
    return _round_up(lower_P), _round_down(upper_P)


def _round_up(x_P: Float64Array) -> Float32Array:
    """The smallest float32 that is not below ``x_P``."""
    nearest = x_P.astype(np.float32)
    return np.where(nearest < x_P, np.nextafter(nearest, np.float32(np.inf)), nearest)


def _round_down(x_P: Float64Array) -> Float32Array:
    """The largest float32 that is not above ``x_P``."""
    nearest = x_P.astype(np.float32)
    return np.where(nearest > x_P, np.nextafter(nearest, np.float32(-np.inf)), nearest)
