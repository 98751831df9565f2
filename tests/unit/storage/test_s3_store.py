"""Faults that only a store over a network can have."""

import base64
import hashlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.errors import InputError, UnavailableError
from pipeline.storage.object_store import ObjectMissingError
from pipeline.storage.s3_store import NUM_TRIES, S3Store
from tests.support.s3_server import READER_ACCESS_KEY, READER_SECRET_KEY, SECRET_KEY, S3Server

CALLS: list[Callable[[S3Store], object]] = [
    lambda store: store.get("a"),
    lambda store: store.put("a", b"x"),
    lambda store: store.create("a", b"x"),
    lambda store: store.list(""),
    lambda store: store.exists("a"),
    lambda store: store.delete("a"),
]


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


def test_an_unknown_access_key_is_an_input_error(s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    text = _assert_refused(S3Store(s3_environment.bucket))
    assert "AWS_ACCESS_KEY_ID" in text
    assert SECRET_KEY not in text


def test_a_wrong_secret_is_an_input_error_that_does_not_repeat_it(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    text = _assert_refused(S3Store(s3_environment.bucket))
    assert "SignatureDoesNotMatch" in text
    assert "not-the-secret" not in text


def test_credentials_that_may_not_write_are_an_input_error(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET_KEY)
    store = S3Store(s3_environment.bucket, uuid.uuid4().hex)
    assert store.list("") == []
    _assert_refused(store, [CALLS[1], CALLS[2]])


@pytest.mark.parametrize("missing", [["AWS_SECRET_ACCESS_KEY"], ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]])
def test_absent_credentials_are_an_input_error(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    for name in missing:
        monkeypatch.delenv(name)
    assert "AWS_SECRET_ACCESS_KEY" in _assert_refused(S3Store(s3_environment.bucket))


def test_an_unknown_profile_is_an_input_error(s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "nobody" in _assert_refused(S3Store(s3_environment.bucket))


@pytest.mark.parametrize("bucket", ["no-such-bucket", "Not A Bucket"])
def test_a_bucket_that_does_not_exist_is_an_input_error_naming_it(s3_environment: S3Server, bucket: str) -> None:
    assert bucket in _assert_refused(S3Store(bucket))


def test_an_endpoint_that_is_no_url_is_an_input_error(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "127.0.0.1:1")
    assert "AWS_ENDPOINT_URL_S3" in _assert_refused(S3Store(s3_environment.bucket))


def test_a_closed_port_is_unavailable_in_bounded_time(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        start = time.monotonic()
        with pytest.raises(UnavailableError, match=endpoint) as caught:
            S3Store(s3_environment.bucket).get("a")
        assert time.monotonic() - start < 20
        assert caught.value.exit_code == 4


def test_a_server_that_never_answers_is_unavailable_in_bounded_time(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(UnavailableError, match="cannot reach"):
            S3Store(s3_environment.bucket, read_timeout_s=0.2).create("a", b"x")
        assert time.monotonic() - start < 40


def test_listings_go_on_over_many_pages(s3_environment: S3Server) -> None:
    store = S3Store(s3_environment.bucket, uuid.uuid4().hex)
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


def test_the_server_refuses_bytes_that_do_not_have_the_digest_they_were_sent_with(
    s3_environment: S3Server,
) -> None:
    store = S3Store(s3_environment.bucket, uuid.uuid4().hex)
    store._client.meta.events.register("before-sign.s3.PutObject", _damage)
    with pytest.raises(UnavailableError, match="BadDigest"):
        store.put("a", b"sound")
    with pytest.raises(UnavailableError, match="BadDigest"):
        store.create("b", b"sound")
    assert store.list("") == []


def test_an_object_is_sent_with_its_sha256(s3_environment: S3Server) -> None:
    store = S3Store(s3_environment.bucket, uuid.uuid4().hex)
    store.put("a", b"sound")
    stored = store._client.get_object(Bucket=s3_environment.bucket, Key=store._full_key("a"), ChecksumMode="ENABLED")
    assert base64.b64decode(stored["ChecksumSHA256"]) == hashlib.sha256(b"sound").digest()


def _damage(request: object, **_: object) -> None:
    request.data = b"rotte"  # type: ignore[attr-defined]


@contextmanager
def _scripted_server(monkeypatch: pytest.MonkeyPatch, statuses: list[int]) -> Iterator[list[str]]:
    """Answers one status a request, then the last again; yields the If-None-Match header of every request."""
    conditions: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status = statuses[min(len(conditions), len(statuses) - 1)]
            conditions.append(self.headers.get("If-None-Match", ""))
            body = b"" if status == 200 else f"<Error><Code>Scripted{status}</Code></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        yield conditions
        server.shutdown()


def test_a_create_that_meets_a_conflict_is_sent_again(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _scripted_server(monkeypatch, [409, 409, 200]) as conditions:
        assert S3Store("bucket").create("a", b"x")
    assert conditions == ["*", "*", "*"]


def test_a_create_that_only_meets_conflicts_gives_up(s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with _scripted_server(monkeypatch, [409]) as conditions, pytest.raises(UnavailableError, match="409"):
        S3Store("bucket").create("a", b"x")
    assert len(conditions) == NUM_TRIES


def test_a_create_whose_answer_was_lost_reports_the_key_as_taken(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _scripted_server(monkeypatch, [500, 412]):
        assert not S3Store("bucket").create("a", b"x")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_for_an_unknown_reason_is_an_input_error(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with _scripted_server(monkeypatch, [status]), pytest.raises(InputError, match=f"Scripted{status}"):
        S3Store("bucket").put("a", b"x")


def test_a_server_that_fails_for_good_is_unavailable(s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with _scripted_server(monkeypatch, [501]), pytest.raises(UnavailableError, match="Scripted501"):
        S3Store("bucket").create("a", b"x")
