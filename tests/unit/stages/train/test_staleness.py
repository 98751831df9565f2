import numpy as np
import numpy.typing as npt

from pipeline.config import BandConfig, StalenessConfig
from pipeline.mining.staleness import Staleness
from pipeline.stages.train.staleness import measure_staleness
from pipeline.training.triplet_shard import Neighbours, TripletShard

CODES = np.arange(60, dtype=np.int32)
IDS = np.arange(60, dtype=np.int64)
NOBODY = Neighbours(CODES[:0], CODES[:0])
MINED = TripletShard(4, IDS[:20], IDS[20:40], IDS[40:], CODES[:20], CODES[40:], NOBODY)


def at(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def embed_with(num_active: int, num_in_band: int):  # type: ignore[no-untyped-def]
    """Anchors at 0, positives at 0.5; the first negatives in the band, more of them nearer, the rest far away."""
    angles = np.zeros(60)
    angles[20:40] = 0.5
    angles[40:] = np.where(np.arange(20) < num_in_band, 0.55, np.where(np.arange(20) < num_active, 0.3, 2.0))
    return lambda ids: at(angles[ids])


def test_shares_are_those_of_triplets_scored_again() -> None:
    found = measure_staleness(MINED, embed_with(12, 5), 100, BandConfig(), margin=0.2, seed=0)
    assert found == Staleness(20, 12 / 20, 5 / 20)


def test_the_sample_is_the_same_for_one_generation_and_seed() -> None:
    drawn: list[tuple[int, ...]] = []

    def embed(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        drawn.append(tuple(ids))
        return embed_with(0, 0)(ids)  # type: ignore[no-any-return]

    for seed in (0, 0, 1):
        measure_staleness(MINED, embed, 3, BandConfig(), 0.2, seed)
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 9


def test_a_generation_without_triplets_is_worth_nothing_and_calls_for_nothing() -> None:
    empty = TripletShard(0, IDS[:0], IDS[:0], IDS[:0], CODES[:0], CODES[:0], NOBODY)
    found = measure_staleness(empty, embed_with(0, 0), 10, BandConfig(), 0.2, 0)
    assert found.num_triplets == 0 and not found.calls_for_refresh(
        StalenessConfig(min_active_share=0.5, check_every_steps=1)
    )
