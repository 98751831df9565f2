"""Faults that only a store over a network can have."""

import base64
import functools
import hashlib
import socket
import time
import uuid
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from pipeline.errors import InputError, PipelineError, UnavailableError
from pipeline.storage.object_store import ObjectMissingError
from pipeline.storage.s3_store import NUM_TRIES, S3Store
from tests.faults.store_faults import answer_error, conflict, drop_answer
from tests.faults.store_proxy import FOREVER, StoreProxy
from tests.support.s3_server import READER_ACCESS_KEY, READER_SECRET_KEY, SECRET_KEY, S3Server

CALLS: list[Callable[[S3Store], object]] = [
    lambda store: store.get("a"),
    lambda store: store.put("a", b"x"),
    lambda store: store.create("a", b"x"),
    lambda store: store.list(""),
    lambda store: store.exists("a"),
    lambda store: store.delete("a"),
]


@pytest.fixture
def store(s3_environment: S3Server) -> S3Store:
    return S3Store(s3_environment.bucket, uuid.uuid4().hex)


@pytest.fixture
def waits_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which are not slept."""
    waits_s: list[float] = []
    for module in ("botocore.endpoint.time", "pipeline.storage.s3_store.time"):
        monkeypatch.setattr(module, SimpleNamespace(sleep=waits_s.append))
    return waits_s


def _assert_refused(store: S3Store, calls: list[Callable[[S3Store], object]] = CALLS) -> str:
    texts = []
    for call in calls:
        with pytest.raises(InputError) as caught:
            call(store)
        assert not isinstance(caught.value, ObjectMissingError)
        assert caught.value.exit_code == 2
        texts.append(str(caught.value))
    assert not any("\n" in text for text in texts)
    return " ".join(texts)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": "not-the-secret"}, "SignatureDoesNotMatch"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "nobody"),
        ({"AWS_ENDPOINT_URL_S3": "127.0.0.1:1"}, "AWS_ENDPOINT_URL_S3"),
    ],
    ids=["unknown key", "wrong secret", "no secret", "no credentials", "unknown profile", "endpoint that is no URL"],
)
def test_wrong_or_absent_settings_are_an_input_error_that_repeats_no_secret(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str | None], words: str
) -> None:
    for name, value in environ.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    text = _assert_refused(S3Store(s3_environment.bucket))
    assert words in text
    assert SECRET_KEY not in text and "not-the-secret" not in text


def test_credentials_that_may_not_write_are_an_input_error(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET_KEY)
    assert store.list("") == []
    _assert_refused(store, [CALLS[1], CALLS[2]])


@pytest.mark.parametrize("bucket", ["no-such-bucket", "Not A Bucket"])
def test_a_bucket_that_does_not_exist_is_an_input_error_naming_it(s3_environment: S3Server, bucket: str) -> None:
    assert bucket in _assert_refused(S3Store(bucket))


@pytest.mark.parametrize("listens", [False, True], ids=["closed port", "silent server"])
def test_a_server_that_never_answers_is_unavailable_in_bounded_time(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, waits_s: list[float], listens: bool
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        store, start = S3Store(s3_environment.bucket, read_timeout_s=0.2), time.monotonic()
        for call in (store.get, store.exists):
            with pytest.raises(UnavailableError, match=f"cannot reach .* at {endpoint} ") as caught:
                call("a")
            assert caught.value.exit_code == 4
        assert time.monotonic() - start + sum(waits_s) < 40


def test_listings_go_on_over_many_pages(store: S3Store) -> None:
    keys = [f"k/{number}" for number in range(7)]
    for key in keys:
        store.put(key, b"x")
    pages: list[int] = []

    def make_small(params: dict[str, object], **_: object) -> None:
        params["MaxKeys"] = 3
        pages.append(3)

    store._client.meta.events.register("provide-client-params.s3.ListObjectsV2", make_small)
    assert store.list("") == keys
    assert len(pages) == 3


def test_the_server_refuses_bytes_that_do_not_have_the_digest_they_were_sent_with(store: S3Store) -> None:
    store._client.meta.events.register("before-sign.s3.PutObject", _damage)
    with pytest.raises(UnavailableError, match="BadDigest"):
        store.put("a", b"sound")
    with pytest.raises(UnavailableError, match="BadDigest"):
        store.create("b", b"sound")
    assert store.list("") == []


def test_an_object_is_sent_with_its_sha256(store: S3Store) -> None:
    store.put("a", b"sound")
    stored = store._client.get_object(Bucket=store._bucket, Key=store._full_key("a"), ChecksumMode="ENABLED")
    assert base64.b64decode(stored["ChecksumSHA256"]) == hashlib.sha256(b"sound").digest()


def _damage(request: object, **_: object) -> None:
    request.data = b"rotte"  # type: ignore[attr-defined]


def test_a_create_that_meets_a_conflict_is_sent_again_with_its_condition(
    store_proxy: StoreProxy, store: S3Store
) -> None:
    for ours in (True, False):
        store_proxy.inject(conflict, times=2)
        assert store.create("a", b"x") is ours
    assert len(store_proxy.injected) == 4


def test_a_create_that_only_meets_conflicts_gives_up(
    store_proxy: StoreProxy, store: S3Store, waits_s: list[float]
) -> None:
    store_proxy.inject(conflict, times=FOREVER)
    with pytest.raises(UnavailableError, match="409"):
        store.create("a", b"x")
    assert len(store_proxy.injected) == NUM_TRIES == len(waits_s) + 1


def test_a_create_whose_answer_was_lost_reports_the_key_as_taken(store_proxy: StoreProxy, store: S3Store) -> None:
    store_proxy.inject(drop_answer)
    assert not store.create("a", b"x")


@pytest.mark.parametrize(
    ("status", "kind"), [(401, InputError), (403, InputError), (501, UnavailableError)], ids=["401", "403", "501"]
)
def test_an_error_that_s3_does_not_list_is_the_users_where_it_is_a_refusal_and_else_the_stores(
    store_proxy: StoreProxy, store: S3Store, status: int, kind: type[PipelineError]
) -> None:
    store_proxy.inject(functools.partial(answer_error, status=status, code="Unheard"), times=FOREVER)
    for write in (store.put, store.create):
        with pytest.raises(PipelineError, match="Unheard") as caught:
            write("a", b"x")
        assert type(caught.value) is kind
