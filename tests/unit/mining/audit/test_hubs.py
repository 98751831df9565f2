from collections import Counter

import numpy as np
import pytest

from pipeline.mining.audit.hubs import HubCap, find_hubs
from tests.support.oracle import listed


def counted(negatives: list[int], num: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.bincount(negatives, minlength=num).astype(np.int64)


def test_a_hub_is_the_negative_of_more_than_the_factor_times_the_mean() -> None:
    counts = counted([0] * 90 + list(range(1, 11)), 20)  # mean of those that are used: 100 / 11
    hubs = find_hubs(counts, 2.0)
    assert hubs.ids_H.tolist() == [0] and hubs.counts_H.tolist() == [90] and hubs.cap == 19
    assert len(find_hubs(counts, 10.0)) == 0
    assert len(find_hubs(counts, None)) == 0
    assert len(find_hubs(np.zeros(5, dtype=np.int64), 2.0)) == 0


def test_hubs_come_most_used_first_and_ties_by_id() -> None:
    counts = counted([7] * 50 + [3] * 50 + [5] * 80 + list(range(10, 200)), 200)
    assert find_hubs(counts, 5.0).ids_H.tolist() == [5, 3, 7]


@pytest.mark.parametrize("num_shards", [1, 3])
def test_a_hub_keeps_as_many_triplets_as_the_cap_however_they_are_stored(num_shards: int) -> None:
    rng = np.random.default_rng(0)
    negative = np.where(rng.random(5000) < 0.4, rng.integers(0, 3, 5000), rng.integers(3, 2000, 5000))
    triplets = listed(np.arange(5000), rng.integers(0, 9, 5000), negative)
    hubs = find_hubs(counted(negative.tolist(), 2000), 20.0)
    assert hubs.ids_H.tolist() and len(hubs) == 3

    def kept(shards: int) -> set[int]:
        cap = HubCap(hubs, seed=4)
        pieces = np.array_split(np.arange(5000), shards)
        for rows in pieces:
            cap.see(triplets.take(rows))
        masks = [cap.keep(triplets.take(rows)) for rows in pieces]
        return set(np.flatnonzero(np.concatenate(masks)).tolist())

    left = kept(num_shards)
    assert left == kept(7)
    counts = Counter(negative[sorted(left)].tolist())
    assert all(counts[hub] == hubs.cap for hub in hubs.ids_H.tolist())
    others = set(np.flatnonzero(~np.isin(negative, hubs.ids_H)).tolist())
    assert others <= left
    of_hubs = np.array(sorted(left - others))  # spread over the anchors, not the first ones
    assert of_hubs.mean() == pytest.approx(2500, rel=0.2)
