"""The fixture ``store``: an empty store of every kind, so that a test holds for all of them."""

import uuid
from pathlib import Path

import pytest

from pipeline.storage.object_store import ObjectStore, open_store
from tests.support.s3_server import S3Server


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "local":
        return open_store(str(tmp_path / "store"))
    server: S3Server = request.getfixturevalue("s3_environment")
    return open_store(f"s3://{server.bucket}/{uuid.uuid4().hex}")
