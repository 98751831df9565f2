"""What a generation is still worth: a sample of its triplets, scored again under newer weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.arrays import Float64Array, FloatArray, Int64Array
from pipeline.config import BandConfig, StalenessConfig
from pipeline.mining.band import band_bounds
from pipeline.mining.distance import squared_distances

_SAMPLE_STREAM = 0x7374616C65

Embed = Callable[[Int64Array], FloatArray]
"""example_ids (n,) to embeddings (n, D) under the newer weights."""


@dataclass(frozen=True)
class Staleness:
    """Shares of a sample of listed triplets.

    Attributes:
        num_triplets: How many were scored.
        active_share: With d_ap - d_an + margin > 0.
        in_band_share: With the negative still inside the band that it was mined for.
    """

    num_triplets: int
    active_share: float
    in_band_share: float

    @classmethod
    def of(cls, d_ap_S: Float64Array, d_an_S: Float64Array, band: BandConfig, margin: float) -> Self:
        """Shares of S triplets.

        Args:
            d_ap_S: Squared distances anchor to positive under the newer weights, float64, shape (S,).
            d_an_S: Squared distances anchor to negative, the same.
            band: What they were mined for.
            margin: The loss's.
        """
        if not len(d_ap_S):
            return cls(0, 0.0, 0.0)
        lower, upper = band_bounds(band, d_ap_S)
        is_active, is_in_band = d_ap_S - d_an_S + margin > 0, (d_an_S > lower) & (d_an_S < upper)
        return cls(len(d_ap_S), float(is_active.mean()), float(is_in_band.mean()))

    def calls_for_refresh(self, config: StalenessConfig) -> bool:
        """Whether too little is left of the generation."""
        return self.num_triplets > 0 and (
            self.active_share < config.min_active_share or self.in_band_share < config.min_in_band_share
        )

    def metrics(self) -> dict[str, float]:
        """Under the names that checkpoints carry."""
        return {"listed_active_share": self.active_share, "listed_in_band_share": self.in_band_share}


def draw_listed(num_listed: int, num_wanted: int, seed: int, generation: int) -> Int64Array:
    """Which of a generation's listed triplets are scored again: their rows, int64, ascending.

    The same for one generation and seed, so that shares measured under different weights can be compared.

    Args:
        num_listed: Triplets to draw from.
        num_wanted: At most so many.
        seed: The run's.
        generation: Its number.
    """
    rng = np.random.default_rng((_SAMPLE_STREAM, seed, generation))
    return np.sort(rng.permutation(num_listed)[:num_wanted])


def score_again(
    anchor_S: Int64Array, positive_S: Int64Array, negative_S: Int64Array, embed: Embed
) -> tuple[Float64Array, Float64Array]:
    """d_ap and d_an of S triplets under newer weights, float64, shape (S,); every example is embedded once."""
    if not len(anchor_S):
        return np.empty(0), np.empty(0)
    ids, place = np.unique(np.stack([anchor_S, positive_S, negative_S]), return_inverse=True)
    anchor_SD, positive_SD, negative_SD = embed(ids)[place.reshape(3, -1)]
    return squared_distances(anchor_SD, positive_SD), squared_distances(anchor_SD, negative_SD)
