"""Nodes join and leave in the middle of a refresh: the one is used, the other costs its blocks alone."""

import time
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.stages.job import Job
from pipeline.stages.mine.job import mine_once
from tests.support.pretend import configured, done_by_node, finished, start_refresh, triplets
from tests.support.raylets import raylets, wait_until

NUM_EXAMPLES, SECONDS = 4_000, 0.4
STALL_S = 40.0  # Ray needs up to 25 s to notice that a node has died


@pytest.fixture(scope="module")
def undisturbed(warm_ray: None, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    config = configured(tmp_path_factory.mktemp("undisturbed"), NUM_EXAMPLES, 1)
    mine_once(Job.open(config))
    return triplets(config)


def num_searched(notes: Path) -> int:
    return sum(line.startswith("search") for one in done_by_node(notes) for line in one)


def test_a_node_that_joins_in_mid_refresh_is_used(tmp_path: Path, undisturbed: pa.Table) -> None:
    config, notes = configured(tmp_path, NUM_EXAMPLES, 2, min_actors=1), tmp_path / "notes"
    with raylets(0, 1) as cluster:
        job = start_refresh(cluster, config, SECONDS, notes)
        wait_until("a search is done", lambda: num_searched(notes))
        cluster.add(1)
        took_s = finished(job, 600)
    searched = [len(one) for one in done_by_node(notes)]
    print(f"a node joined after the first search; tasks by node {searched}, {took_s:.1f} s")
    assert len(searched) == 2 and min(searched) >= 5
    assert triplets(config).equals(undisturbed)


def test_where_all_nodes_have_left_the_next_one_is_waited_for(tmp_path: Path, undisturbed: pa.Table) -> None:
    config = configured(tmp_path, NUM_EXAMPLES, 1, stall_timeout_s=STALL_S, wait_for_nodes_s=300.0)
    notes = tmp_path / "notes"
    with raylets(0, 1) as cluster:
        job = start_refresh(cluster, config, 0.1, notes)
        wait_until("searches are done", lambda: num_searched(notes) >= 20)
        cluster.kill(1)
        wait_until("it is noticed", lambda: cluster.state()["num_nodes"] == 1)
        time.sleep(STALL_S + 5.0)
        assert job.poll() is None, "it waits longer than for a place that others hold"
        cluster.add(1)
        finished(job, 600)
    assert triplets(config).equals(undisturbed)


def test_a_node_that_leaves_costs_its_blocks_though_nothing_can_take_its_place(
    tmp_path: Path, undisturbed: pa.Table
) -> None:
    config, notes = configured(tmp_path, NUM_EXAMPLES, 2), tmp_path / "notes"
    with raylets(0, 1, 1) as cluster:
        job = start_refresh(cluster, config, 0.1, notes)
        wait_until("searches are done", lambda: num_searched(notes) >= 20)
        cluster.kill(2)
        took_s = finished(job, 600)
    searched = [len(one) for one in done_by_node(notes)]
    print(f"kill -9 of a raylet after 20 searches; tasks by node {searched}, {took_s:.1f} s")
    assert sum(searched) <= 16 + 16 * 8 + 10, "what was done is not done again, but for what was under way"
    assert triplets(config).equals(undisturbed)
