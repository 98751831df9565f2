"""The doctor on a cluster."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.jobs import environment, succeed_apart
from tests.support.token_cluster import RAY, free_port

OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@pytest.fixture
def open_cluster(tmp_path: Path) -> Iterator[str]:
    """A head node that asks for no token."""
    port, folder = free_port(), f"/tmp/motherlode-ray-{free_port()}"
    command = [RAY, "start", "--head", "--block", f"--port={port}", "--num-cpus=4", "--node-ip-address=127.0.0.1"]
    with subprocess.Popen(
        [*command, "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"],
        env=environment(**OPEN),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    ) as head:
        try:
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()
            head.wait(timeout=30)


def test_a_cluster_without_a_token_is_a_concern_and_its_nodes_are_looked_at(open_cluster: str, tmp_path: Path) -> None:
    done = succeed_apart("doctor", "--workspace", tmp_path / "w", "--cluster.address", open_cluster, **OPEN)
    cluster = done.report["cluster"]
    assert "RAY_AUTH_MODE=token" in cluster and "! │ cluster" in done.words
    assert "4 CPU" in cluster and "where Ray spills" in cluster
    assert "to create" in done.report["store"] and "CPU build" in done.report["mining"]
