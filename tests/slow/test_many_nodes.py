"""A refresh on several nodes: the bits of one node, and its work shared evenly.

How long it takes is measured, not tested: ``python -m tests.support.pretend`` (docs/scale.md).
"""

from pathlib import Path

import pytest

from tests.support.pretend import configured, done_by_node, finished, start_refresh, summary, triplets
from tests.support.raylets import raylets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NUM_EXAMPLES = 8_000
NUM_TASKS = 16 + 8 * 16
"""Parts, and shards times blocks."""


def test_many_nodes_share_a_refresh_evenly_and_mine_the_bits_of_one(tmp_path: Path) -> None:
    mined = {}
    for num_nodes, seconds in ((1, 0.0), (8, 0.8)):
        place = tmp_path / f"on-{num_nodes}"  # each embeds by itself
        place.mkdir()
        config = configured(place, NUM_EXAMPLES, num_nodes)
        with raylets(0, *[1.0] * num_nodes) as cluster:
            took_s = finished(start_refresh(cluster, config, seconds, place / "notes"), 1200)
        print(f"{num_nodes} nodes: {summary(place / 'notes', seconds, took_s)}")
        mined[num_nodes] = triplets(config)
        done = done_by_node(place / "notes")
        assert len(done) == num_nodes and sum(map(len, done)) == NUM_TASKS
        assert max(map(len, done)) <= 1.5 * NUM_TASKS / num_nodes
        searches = [[line.split()[1] for line in lines if line.startswith("search")] for lines in done]
        at_home = [max(lines.count(shard) for lines in searches) for shard in map(str, range(8))]
        assert sum(at_home) >= 0.8 * sum(map(len, searches)), "blocks are searched where their shard lies"
    assert len(mined[1]) > NUM_EXAMPLES / 2 and mined[8].equals(mined[1])
