"""Commits to an object store that loses answers, fails in the middle, or ignores the condition: all or nothing."""

import functools
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import UnavailableError
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore, open_store
from pipeline.storage.publish import Transaction
from pipeline.storage.s3_store import S3Store
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import TRIPLETS
from pipeline.triplets.writer import TripletWriter
from tests.faults.store_faults import conflict, delay, drop_answer, internal_error, reset
from tests.faults.store_proxy import FOREVER, Fault, StoreProxy
from tests.support.s3_server import S3Server
from tests.unit.storage.samples import manifest_of, things

READ_TIMEOUT_S = 1.0
late = functools.partial(delay, seconds=1.5 * READ_TIMEOUT_S)


@pytest.fixture
def store(store_proxy: StoreProxy, s3_environment: S3Server) -> S3Store:
    """Behind the proxy."""
    return S3Store(s3_environment.bucket, uuid.uuid4().hex, read_timeout_s=READ_TIMEOUT_S)


def begin(store: ObjectStore) -> tuple[Transaction[Manifest], Manifest]:
    """A transaction on number 0 with one part, and its manifest."""
    transaction = things(store).begin(0)
    transaction.add_part("rows", "part.bin", b"rows" * 10_000, num_rows=1)
    return transaction, manifest_of(transaction)


@pytest.mark.parametrize(
    "fault",
    [drop_answer, late, conflict, internal_error, reset],
    ids=["dropped", "late", "conflict", "error", "reset"],
)
def test_a_commit_whose_answer_is_lost_is_known_for_our_own(
    store: S3Store, store_proxy: StoreProxy, fault: Fault
) -> None:
    transaction, manifest = begin(store)
    store_proxy.inject(fault, on="^PUT .*/manifests/")
    assert transaction.commit(manifest) == (manifest, True)
    assert sum(request.startswith("PUT") and "/manifests/" in request for request in store_proxy.seen) >= 2
    assert things(store).numbers() == [0]
    assert things(store).read(0) == manifest


def test_a_commit_that_came_second_stays_second_though_its_answer_is_lost(
    store: S3Store, store_proxy: StoreProxy
) -> None:
    (first, winner), (second, loser) = begin(store), begin(store)
    assert first.commit(winner) == (winner, True)
    store_proxy.inject(drop_answer, on="^PUT .*/manifests/")
    assert second.commit(loser) == (winner, False)
    assert len(store_proxy.injected) == 1


def test_a_commit_that_nobody_hears_of_stands_whole_and_who_comes_next_finds_it(
    store: S3Store, store_proxy: StoreProxy
) -> None:
    transaction, manifest = begin(store)
    store_proxy.inject(drop_answer, on="^PUT .*/manifests/", times=FOREVER)
    with pytest.raises(UnavailableError, match="cannot reach"):
        transaction.commit(manifest)
    store_proxy.mend()
    assert things(store).read(0) == manifest
    assert things(store).read_part(manifest.parts[0]) == b"rows" * 10_000, "its parts were not deleted"
    following, late_manifest = begin(store)
    assert following.commit(late_manifest) == (manifest, False)


def numbered(num_rows: int) -> pa.Table:
    """Triplets of whatever ids."""
    return pa.table([range(num_rows)] * len(TRIPLETS.names), names=TRIPLETS.names).cast(TRIPLETS)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_an_exception_in_mid_shard_leaves_nothing(
    kind: str, error: type[BaseException], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = open_store(str(tmp_path)) if kind == "local" else request.getfixturevalue("store")
    published = generations(Workspace(store, "main"))
    transaction = published.begin(0)
    with pytest.raises(error), transaction.rollback_on_error():
        writer = TripletWriter(transaction, rows_per_shard=100, metadata={})
        writer.write(numbered(250))  # two shards, and half of the third
        assert len(store.list("")) == 2
        raise error
    assert published.numbers() == []
    assert store.list("") == []


def test_a_shard_that_cannot_be_put_rolls_the_transaction_back(store: S3Store, store_proxy: StoreProxy) -> None:
    published = generations(Workspace(store, "main"))
    transaction = published.begin(0)
    store_proxy.inject(internal_error, on="^PUT .*triplets-00002", times=FOREVER)
    with pytest.raises(UnavailableError, match=r"triplets-00002.*500"), transaction.rollback_on_error():
        TripletWriter(transaction, rows_per_shard=100, metadata={}).write(numbered(350))
    assert published.numbers() == []
    assert store.list("") == []
