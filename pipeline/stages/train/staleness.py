"""What the generation that is trained on is still worth under the current weights."""

from pipeline.config import BandConfig
from pipeline.mining.staleness import Embed, Staleness, draw_listed, score_again
from pipeline.training.triplet_shard import TripletShard


def measure(
    mined: TripletShard, embed: Embed, num_triplets: int, band: BandConfig, margin: float, seed: int
) -> Staleness:
    """Scores a sample of triplets again. Images are seen as the miner sees them: the encoder in evaluation mode.

    Args:
        mined: The triplets; the sample is the same for one generation and seed.
        embed: example_ids (n,) to embeddings (n, D) under the current weights.
        num_triplets: At most so many.
        band: What they were mined for.
        margin: The loss's.
        seed: The run's.
    """
    rows = draw_listed(len(mined), num_triplets, seed, mined.generation)
    d_ap, d_an = score_again(mined.anchor_T[rows], mined.positive_T[rows], mined.negative_T[rows], embed)
    return Staleness.of(d_ap, d_an, band, margin)
