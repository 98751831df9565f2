"""Fixtures that several packages of tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there: the processes of a test run share few cores

import functools
import uuid
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from hypothesis import HealthCheck, settings

from pipeline.storage.object_store import ObjectStore, open_store
from pipeline.storage.workspace import Workspace
from tests.faults.store_proxy import StoreProxy, run_store_proxy
from tests.support.s3_server import S3Server, run_s3_server
from tests.support.small_disk import small_disk
from tests.support.token_cluster import TokenCluster, token_cluster

settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")  # what an example takes depends on who else is at work on this machine


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One SeaweedFS server for the whole session; its clients share what botocore reads of S3, and begin at once."""
    with run_s3_server(tmp_path_factory.mktemp("s3_server")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        yield server


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with credentials and endpoint in the environment for the length of one test."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def store_proxy(s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreProxy]:
    """A proxy before the server, which the environment points to; it passes everything on until it is told a fault."""
    with run_store_proxy(s3_environment) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of every kind, so that a test holds for all of them."""
    if request.param == "local":
        return open_store(str(tmp_path / "store"))
    server: S3Server = request.getfixturevalue("s3_environment")
    return open_store(f"s3://{server.bucket}/{uuid.uuid4().hex}")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty one in a folder."""
    return Workspace.open(str(tmp_path / "workspace"), "main")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    with small_disk(tmp_path / "disk") as place:
        yield place


@pytest.fixture(scope="module")
def cluster() -> Iterator[TokenCluster]:
    """One Ray cluster for the module, which asks for a token."""
    with token_cluster() as started:
        yield started
