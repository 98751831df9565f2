from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.triplets import neighbours
from pipeline.triplets.neighbours import NeighbourTally
from pipeline.triplets.schema import count_kinds


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.1, 0.2, 0.4])), max_size=60))
def test_the_tally_counts_and_keeps_the_closest(rows: list[tuple[int, int, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_FEWEST_PENDING", 7)
        tally = NeighbourTally(5)
        for start in range(0, len(rows), 4):
            a, n, d = zip(*rows[start : start + 4], strict=True)
            tally.add(np.array(a, np.int32), np.array(n, np.int32), np.array(d, np.float32))
        table = tally.table(list("abcde"), per_label=5).to_pylist()
    counts = Counter((a, n) for a, n, _ in rows)
    assert {
        ("abcde".index(row["label"]), "abcde".index(row["neighbour"])): row["num_triplets"] for row in table
    } == counts
    for row in table:
        pair = ("abcde".index(row["label"]), "abcde".index(row["neighbour"]))
        assert row["min_d_an"] == np.float32(min(d for a, n, d in rows if (a, n) == pair))


def test_what_stands_is_summed_up_again_only_when_half_as_much_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_FEWEST_PENDING", 8)
    tally, sizes = NeighbourTally(5000), set()
    for label in range(5000):
        tally.add(np.array([label], np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32))
        sizes.add(len(tally._keys))
    assert len(sizes) <= 20 and max(sizes) > 5000 / 2
    assert len(tally.table([str(label) for label in range(5000)], 1)) == 5000


def test_a_label_keeps_its_most_mined_neighbours() -> None:
    tally = NeighbourTally(4)
    tally.add(np.zeros(6, np.int32), np.array([1, 2, 2, 3, 3, 3], np.int32), np.full(6, 0.5, np.float32))
    assert [row["neighbour"] for row in tally.table(list("abcd"), 2).to_pylist()] == ["d", "c"]


def test_kinds_follow_the_definitions_at_their_borders() -> None:
    d_ap = np.array([0.5, 0.5, 0.5, 0.5], np.float32)
    d_an = np.array([0.4, 0.5, 0.6, 0.8], np.float32)
    assert count_kinds(d_ap, d_an, 0.2) == {"hard": 2, "semi_hard": 1, "easy": 1}
