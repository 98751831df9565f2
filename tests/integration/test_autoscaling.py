"""Jobs on a cluster without workers, whose autoscaler starts some when it is asked."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.support.jobs import TINY, succeed
from tests.support.token_cluster import TokenCluster, ask, token_cluster

WORKER_CPUS = 1.0


@pytest.fixture(scope="module")
def growing() -> Iterator[TokenCluster]:
    with token_cluster(WORKER_CPUS) as cluster:
        yield cluster


def mine(cluster: TokenCluster, workspace: Path, *settings: str) -> tuple[str, str]:
    """Submits a refresh by two actors of one CPU; how it ended, and what it said."""
    identity = f"mine-{len(settings)}-{workspace.parent.name}"
    wide = ("--cluster.num_actors=2", "--cluster.cpus_per_actor=1", f"--workspace={workspace}", *settings)
    job = (sys.executable, "-m", "jobs.mine", *TINY, *wide)
    run = cluster.ray("job", "submit", "--submission-id", identity, "--", *job)
    return cluster.job(identity)["status"], run.stdout


def test_a_job_that_does_not_wait_says_what_is_missing_and_one_that_waits_gets_it(
    growing: TokenCluster, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    succeed("prepare", *TINY, "--workspace", workspace)
    status, words = mine(growing, workspace)
    assert status == "FAILED" and "error: one actor reserves 1 CPU, and no node of the cluster has that" in words
    assert "let the job wait for nodes that are being added (cluster.wait_for_nodes_s)" in words

    status, words = mine(growing, workspace, "--cluster.wait_for_nodes_s=400")
    assert status == "SUCCEEDED", words
    assert re.search(r"waiting for nodes, up to [34]\d\d s more: 1 node of 0 CPU is not enough yet", words)
    assert generations(Workspace.open(str(workspace), "main")).latest() is not None
    _, groups = ask(growing.address, "/api/v0/placement_groups?detail=1", growing.token)
    states = [group["state"] for group in json.loads(groups)["data"]["result"]["result"]]
    assert set(states) == {"REMOVED"}, "what asked for nodes holds nothing"


def test_who_has_waited_in_vain_is_told_so(growing: TokenCluster, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    succeed("prepare", *TINY, "--workspace", workspace)
    many = ("--cluster.num_actors=3", "--cluster.wait_for_nodes_s=3")
    status, words = mine(growing, workspace, *many)
    assert status == "FAILED" and "(waited 3 s, cluster.wait_for_nodes_s; `ray status` says what did not come)" in words
