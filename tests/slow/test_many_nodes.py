"""A refresh on several nodes: the bits of one node, and its time shared among them. See tests/support/pretend.py."""

from pathlib import Path

import pytest

from tests.support.pretend import configured, done_by_node, finished, start_refresh, summary, triplets
from tests.support.raylets import raylets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
LARGE, SMALL = 200_000, 20_000
SHORT_S, LONG_S = 0.6, 4.0


def test_two_nodes_do_a_refresh_in_little_more_than_half_the_time_with_the_same_bits(tmp_path: Path) -> None:
    took_s, mined = {}, {}
    for num_nodes in (1, 2):
        place = tmp_path / f"on-{num_nodes}"  # each embeds by itself
        place.mkdir()
        config = configured(place, LARGE, num_nodes)
        with raylets(0, *[1.0] * num_nodes) as cluster:
            took_s[num_nodes] = finished(start_refresh(cluster, config, SHORT_S, place / "notes"), 600)
        print(f"{num_nodes} nodes: {summary(place / 'notes', SHORT_S, took_s[num_nodes])}")
        mined[num_nodes] = triplets(config)
    assert len(mined[1]) > LARGE / 2 and mined[2].equals(mined[1])
    assert took_s[2] <= 0.6 * took_s[1]
    searches = [[line.split()[1] for line in one if line.startswith("search")] for one in done_by_node(place / "notes")]
    apart = [max(one.count(shard) for one in searches) for shard in map(str, range(8))]
    assert sum(apart) >= 0.8 * sum(map(len, searches)), "blocks are searched where their shard lies"


def test_eight_nodes_come_near_to_an_eighth_of_the_time(tmp_path: Path) -> None:
    config = configured(tmp_path, SMALL, 8)
    with raylets(0, *[1.0] * 8) as cluster:
        took_s = finished(start_refresh(cluster, config, LONG_S, tmp_path / "notes"), 600)
    print(f"8 nodes: {summary(tmp_path / 'notes', LONG_S, took_s)}")
    num_tasks = sum(map(len, done_by_node(tmp_path / "notes")))
    assert num_tasks == 16 + 8 * 16, "parts, and shards times blocks"
    assert took_s <= 1.15 * num_tasks * LONG_S / 8
