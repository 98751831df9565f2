"""The band: where, for a given d_ap, a negative is wanted. One primitive serves every mining mode."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Float32Array, Float64Array, FloatArray
from pipeline.config import BandConfig


@dataclass(frozen=True)
class Mode:
    """A mode of the band.

    Attributes:
        bounds: Lower and upper bound of d_an for d_ap, shape (P,), by real numbers; a constant stands for all pairs.
        condition: On d_an, as people read it.
    """

    bounds: Callable[[BandConfig, Float64Array], tuple[Float64Array | float, Float64Array | float]]
    condition: Callable[[BandConfig], str]


MODES = {
    "hard": Mode(  # FaceNet §3.2, argmin
        lambda band, d_ap_P: (-np.inf, np.inf),
        lambda band: "the nearest d_an, whatever it is",
    ),
    "semi_hard": Mode(  # FaceNet §3.2, eq. 4
        lambda band, d_ap_P: (d_ap_P, d_ap_P + band.margin),
        lambda band: f"d_ap < d_an < d_ap + {band.margin:g}",
    ),
    "positive_aware": Mode(  # after NV-Retriever (2407.15831) §3
        lambda band, d_ap_P: (band.ratio * d_ap_P + band.offset, np.inf),
        lambda band: f"d_an > {band.ratio:g} · d_ap + {band.offset:g}",
    ),
    "range": Mode(
        lambda band, d_ap_P: (band.low, band.high),
        lambda band: f"{band.low:g} < d_an < {band.high:g}",
    ),
}


def band_bounds(band: BandConfig, d_ap_P: FloatArray) -> tuple[Float32Array, Float32Array]:
    """The open interval in which d_an is wanted, for each (anchor, positive) pair.

    Args:
        band: Mode and numbers, on squared distances.
        d_ap_P: Squared distances anchor to positive, float64 or as published, shape (P,).

    Returns:
        Lower and upper bounds of the published d_ap, float32, shape (P,), rounded inwards: a float32 d_an strictly
        between them is strictly inside the band by real numbers too.
    """
    d_P = d_ap_P.astype(np.float32).astype(np.float64)
    lower, upper = MODES[band.mode].bounds(band, d_P)
    return _round_up(np.broadcast_to(lower, d_P.shape)), _round_down(np.broadcast_to(upper, d_P.shape))


def _round_up(x_P: Float64Array) -> Float32Array:
    """The smallest float32 that is not below ``x_P``."""
    nearest = x_P.astype(np.float32)
    return np.where(nearest < x_P, np.nextafter(nearest, np.float32(np.inf)), nearest)


def _round_down(x_P: Float64Array) -> Float32Array:
    """The largest float32 that is not above ``x_P``."""
    nearest = x_P.astype(np.float32)
    return np.where(nearest > x_P, np.nextafter(nearest, np.float32(-np.inf)), nearest)
