"""An object store that throttles, fails, dawdles and breaks off: requests are sent again, and given up in time."""

import functools
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from pipeline.errors import CorruptDataError, PipelineError, UnavailableError
from pipeline.storage.object_store import open_store
from pipeline.storage.s3_store import NUM_ATTEMPTS, NUM_TRIES, S3Store
from tests.faults.store_faults import (
    answer_error,
    cut,
    delay,
    drop_answer,
    error_within_200,
    flip,
    internal_error,
    reset,
    slow_down,
    stall,
)
from tests.faults.store_proxy import FOREVER, Fault, StoreProxy, run_store_proxy
from tests.support.s3_server import S3Server

SEED = 30
READ_TIMEOUT_S = 1.0
LONGEST_BACKOFF_S = 6.4
"""Sum of the longest waits between attempts after other errors than SlowDown; see NUM_ATTEMPTS."""
SLACK_S = 100.0

late = functools.partial(delay, seconds=1.5 * READ_TIMEOUT_S)
stalled = functools.partial(stall, seconds=1.5 * READ_TIMEOUT_S)
bad_gateway = functools.partial(answer_error, status=502, code="BadGateway")
gateway_timeout = functools.partial(answer_error, status=504, code="GatewayTimeout")

CALLS: dict[str, Callable[[S3Store], object]] = {
    "PUT": lambda store: store.put("a", b"a" * 10_000),
    "CREATE": lambda store: store.create("b", b"b" * 10_000),
    "LIST": lambda store: store.list(""),
    "EXISTS": lambda store: store.exists("a"),
    "GET": lambda store: store.get("a"),
    "DELETE": lambda store: store.delete("a"),
}
FOUND = {"LIST": ["a", "b"], "EXISTS": True, "GET": b"a" * 10_000}
EVERY, WITH_WORDS, WITH_A_BODY = tuple(CALLS), ("PUT", "CREATE", "LIST", "EXISTS", "DELETE"), ("LIST", "EXISTS", "GET")


@pytest.fixture
def store(store_proxy: StoreProxy, s3_environment: S3Server) -> S3Store:
    """Behind the proxy."""
    return S3Store(s3_environment.bucket, uuid.uuid4().hex, read_timeout_s=READ_TIMEOUT_S)


@pytest.mark.parametrize(
    ("fault", "num_times", "calls"),
    [
        (slow_down, 1, EVERY),
        (internal_error, 3, EVERY),
        (bad_gateway, 3, EVERY),
        (gateway_timeout, 3, EVERY),
        (reset, 3, EVERY),
        (drop_answer, 3, EVERY),
        (late, 1, EVERY),
        (error_within_200, 3, WITH_WORDS),
        (cut, 3, WITH_A_BODY),
        (stalled, 1, WITH_A_BODY),
        (flip, 3, ("GET",)),  # what has no checksum is no object: only TLS guards a listing
    ],
    ids=["slow-down", "500", "502", "504", "reset", "dropped", "late", "200-with-error", "cut", "stalled", "flipped"],
)
def test_every_request_is_sent_again_after_a_burst_of_faults(
    store: S3Store, store_proxy: StoreProxy, fault: Fault, num_times: int, calls: tuple[str, ...]
) -> None:
    for name, call in CALLS.items():
        if name in calls:
            store_proxy.inject(fault, times=num_times)
        found = call(store)
        assert found == FOUND.get(name, found)
    assert len(store_proxy.injected) == num_times * len(calls)
    assert store.list("") == ["b"]
    assert store.get("b") == b"b" * 10_000


def test_a_server_that_asks_to_slow_down_for_ever_is_given_up_in_bounded_time(
    store: S3Store, store_proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []  # some 35 s in all, which this test does not sleep
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=waits_s.append))
    store_proxy.inject(slow_down, times=FOREVER)
    with pytest.raises(UnavailableError, match=rf"read 'a' .*503 SlowDown.*attempts: {NUM_ATTEMPTS}\)") as caught:
        store.get("a")
    assert "\n" not in str(caught.value)
    assert len(store_proxy.injected) == NUM_ATTEMPTS
    assert len(waits_s) == NUM_ATTEMPTS - 1
    assert all(wait_s <= min(2.0**turn, 20.0) for turn, wait_s in enumerate(waits_s))


@pytest.mark.parametrize(
    ("fault", "words"),
    [(internal_error, "500 InternalError"), (reset, "cannot reach"), (drop_answer, "cannot reach")],
    ids=["500", "reset", "dropped"],
)
def test_a_server_that_fails_for_ever_is_given_up_in_bounded_time(
    store: S3Store, store_proxy: StoreProxy, fault: Fault, words: str
) -> None:
    store_proxy.inject(fault, times=FOREVER)
    start = time.monotonic()
    with pytest.raises(UnavailableError, match=words) as caught:
        store.create("a", b"x")
    assert time.monotonic() - start < LONGEST_BACKOFF_S + SLACK_S
    assert "\n" not in str(caught.value)
    assert len(store_proxy.injected) == NUM_ATTEMPTS


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (cut, UnavailableError, "cannot reach .*ResponseStreamingError"),
        (stalled, UnavailableError, "cannot reach .*ResponseStreamingError"),
        (flip, CorruptDataError, "'a' .* does not have the checksum"),
    ],
    ids=["cut", "stalled", "flipped"],
)
def test_a_body_that_never_comes_sound_is_a_named_error(
    store: S3Store, store_proxy: StoreProxy, fault: Fault, kind: type[PipelineError], words: str
) -> None:
    store.put("a", b"sound" * 1000)
    store_proxy.inject(fault, times=FOREVER)
    with pytest.raises(UnavailableError, match=words) as caught:
        store.get("a")
    assert type(caught.value) is kind
    assert len(store_proxy.injected) == NUM_TRIES
    store_proxy.mend()
    assert store.get("a") == b"sound" * 1000


def test_readers_see_the_old_object_or_the_new_one_under_random_faults(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [bytes([turn]) * (100_000 + turn) for turn in range(30)]
    written = threading.Event()

    def read(uri: str) -> int:
        reader, num_reads = open_store(uri), 0
        while not written.is_set():
            assert reader.get("hot") in versions, "torn"
            num_reads += 1
        assert reader.get("hot") == versions[-1]
        return num_reads

    with run_store_proxy(s3_environment, seed=SEED) as proxy, ThreadPoolExecutor(4) as pool:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        store = open_store(f"s3://{s3_environment.bucket}/{uuid.uuid4().hex}")
        store.put("hot", versions[0])
        for fault in (reset, cut, flip, drop_answer, internal_error, functools.partial(delay, seconds=0.05)):
            proxy.inject(fault, on="^GET " if fault in (cut, flip) else "", times=FOREVER, share=0.06)
        readers = [pool.submit(read, store.uri) for _ in range(4)]
        try:
            for version in versions:
                store.put("hot", version)
        finally:
            written.set()
        num_reads = sum(reader.result() for reader in readers)
        print(f"seed {SEED}: {len(proxy.injected)} faults in {len(proxy.seen)} requests, {num_reads} reads")
        assert num_reads > len(readers)
        assert len({line.partition(":")[0] for line in proxy.injected}) > 3
