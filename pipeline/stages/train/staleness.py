"""Staleness of the generation that is trained on, under the current weights."""

from pipeline.config import BandConfig
from pipeline.mining.staleness import Embed, Staleness, draw_listed, score_again
from pipeline.training.triplet_shard import TripletShard


def measure_staleness(
    shard: TripletShard, embed: Embed, num_triplets: int, band: BandConfig, margin: float, seed: int
) -> Staleness:
    """Scores at most ``num_triplets`` of a shard again, the same ones for one generation and seed.

    Images are seen as the miner sees them: ``embed`` takes example_ids (n,) to embeddings (n, D) under the current
    weights, with the encoder in evaluation mode. ``band`` is what the triplets were mined for.
    """
    rows = draw_listed(len(shard), num_triplets, seed, shard.generation)
    d_ap, d_an = score_again(shard.anchor_T[rows], shard.positive_T[rows], shard.negative_T[rows], embed)
    return Staleness.of(d_ap, d_an, band, margin)
