"""What a generation is still worth: a sample of its triplets, scored again under the current weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config import BandConfig, StalenessConfig
from pipeline.mining.band import band_bounds
from pipeline.mining.distance import squared_distances
from pipeline.training.mined import Mined

_SAMPLE_STREAM = 0x7374616C65

Embed = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]


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

    def calls_for_refresh(self, config: StalenessConfig) -> bool:
        """Whether too little is left of the generation."""
        return self.num_triplets > 0 and (
            self.active_share < config.min_active_share or self.in_band_share < config.min_in_band_share
        )

    def metrics(self) -> dict[str, float]:
        """Under the names that checkpoints carry."""
        return {"listed_active_share": self.active_share, "listed_in_band_share": self.in_band_share}


def measure(mined: Mined, embed: Embed, num_triplets: int, band: BandConfig, margin: float, seed: int) -> Staleness:
    """Scores a sample of triplets again. Images are seen as the miner sees them: the encoder in evaluation mode.

    Args:
        mined: The triplets; the sample is the same for one generation and seed, so that its shares can be compared.
        embed: example_ids (n,) to embeddings (n, D) under the current weights.
        num_triplets: At most so many.
        band: What they were mined for.
        margin: The loss's.
        seed: The run's.
    """
    rng = np.random.default_rng((_SAMPLE_STREAM, seed, mined.generation))
    rows = np.sort(rng.permutation(len(mined))[:num_triplets])
    if not len(rows):
        return Staleness(0, 0.0, 0.0)
    ids, place = np.unique(
        np.stack([mined.anchor_T[rows], mined.positive_T[rows], mined.negative_T[rows]]), return_inverse=True
    )
    anchor, positive, negative = embed(ids)[place.reshape(3, -1)]
    d_ap, d_an = squared_distances(anchor, positive), squared_distances(anchor, negative)
    lower, upper = band_bounds(band, d_ap)
    return Staleness(
        len(rows), float((d_ap - d_an + margin > 0).mean()), float(((d_an > lower) & (d_an < upper)).mean())
    )
