import numpy as np
import pytest

from pipeline.mining.sampling import hash_ids, sample_anchors, sample_candidates
from pipeline.mining.shards import Shard


def shard(num: int) -> Shard:
    return Shard(np.arange(num), np.zeros(num, np.int32), np.ones((num, 2), np.float32))


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
def test_a_sample_has_the_share_that_was_asked_for(fraction: float) -> None:
    num = 50_000
    kept = len(sample_candidates(shard(num), fraction, seed=3))
    assert abs(kept - fraction * num) < 5 * np.sqrt(num * fraction * (1 - fraction))


def test_a_sample_does_not_depend_on_how_the_corpus_is_split() -> None:
    whole = sample_candidates(shard(1000), 0.3, 7).ids_N
    parts = [
        Shard(np.arange(*span), np.zeros(500, np.int32), np.zeros((500, 1), np.float32))
        for span in ((0, 500), (500, 1000))
    ]
    halves = [sample_candidates(part, 0.3, 7).ids_N for part in parts]
    np.testing.assert_array_equal(whole, np.concatenate(halves))


def test_another_seed_is_another_sample_and_all_is_all() -> None:
    one, other = (sample_candidates(shard(1000), 0.5, seed).ids_N for seed in (0, 1))
    assert set(one) != set(other)
    assert len(sample_candidates(shard(1000), 1.0, 0)) == 1000


def test_anchors_are_sampled_without_repeats_and_in_order() -> None:
    anchors = np.arange(0, 3000, 3)
    chosen = sample_anchors(anchors, 64, 0)
    assert len(np.unique(chosen)) == 64 and (np.diff(chosen) > 0).all() and np.isin(chosen, anchors).all()
    assert len(sample_anchors(anchors[:5], 64, 0)) == 5


def test_hashes_are_spread_over_all_bits() -> None:
    bits = np.unpackbits(hash_ids(0, np.arange(4096)).view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
    assert (np.abs(bits - 0.5) < 0.05).all()
