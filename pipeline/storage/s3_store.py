"""A store in an S3 bucket; the only module that imports boto3.

Credentials, region and endpoint come from botocore's own chain (``AWS_ENDPOINT_URL_S3`` and so on). Every
request is bounded in time: a few attempts, each with a connect and a read timeout, and growing waits in between.
"""

import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypeVar

import boto3.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.exceptions import ConnectionError as EndpointUnreachableError
from urllib3.exceptions import HTTPError

from pipeline.errors import CorruptDataError, InputError, PipelineError, UnavailableError
from pipeline.storage.keys import Entry, ObjectMissingError, folder_of, validate_key

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
NUM_ATTEMPTS = 8
"""Attempts of one request, the first included. botocore waits between them (standard mode): at random up to 1, 2, 4 …
20 s where the server asks to slow down, 71 s in all, and up to 0.05, 0.1 … 3.2 s after other errors, 6.4 s in all. (A
server may ask for 5 s more each time.) So a request that is always refused fails within two minutes, and one that is
never answered within NUM_ATTEMPTS × (READ_TIMEOUT_S + 1 s) + 6.4 s: four minutes."""
NUM_TRIES = 6
"""Tries of what botocore does not retry: a conflict (409), a body that broke off, stalled or was damaged."""
FIRST_WAIT_S = 0.1

_REFUSED_CODES = {
    "AccessDenied", "AccountProblem", "AllAccessDisabled", "AuthorizationHeaderMalformed", "ExpiredToken",
    "InvalidAccessKeyId", "InvalidToken", "NotSignedUp", "SignatureDoesNotMatch", "TokenRefreshRequired",
    "UnauthorizedAccess",
}  # fmt: skip
_BUCKET_CODES = {"NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "IllegalLocationConstraintException"}
_BODY_ERRORS = (FlexibleChecksumError, IncompleteReadError, ResponseStreamingError)

T = TypeVar("T")


class S3Store:
    """Objects under ``s3://bucket/prefix``. It keeps the contract of ``ObjectStore``.

    Args:
        bucket: An existing bucket.
        prefix: Prepended to every key; may be empty.
        connect_timeout_s: Longest wait for a connection.
        read_timeout_s: Longest wait for the next bytes of an answer.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._bucket, self._folder = bucket, folder_of(prefix)
        self._connect_timeout_s, self._read_timeout_s = connect_timeout_s, read_timeout_s

    def __getstate__(self) -> dict[str, Any]:
        # A client holds sockets and locks: each process creates its own.
        return {name: value for name, value in self.__dict__.items() if name != "_client"}

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._folder}".rstrip("/")

    def get(self, key: str) -> bytes:
        """Downloads the object; botocore verifies the checksum if the server stored one."""
        with self._translate_errors("read", key):
            return _retry(lambda: self._download(key), lambda error: isinstance(error, _BODY_ERRORS))

    def put(self, key: str, data: bytes) -> None:
        """Uploads the object in one request; the server verifies its SHA-256 before the object is visible."""
        with self._translate_errors("write", key):
            self._put_object(key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Uploads with ``If-None-Match: *``: 412 means that the key exists, 409 that another upload is under way."""
        with self._translate_errors("write", key):
            try:
                _retry(lambda: self._put_object(key, data, IfNoneMatch="*"), _is_conflict)
            except ClientError as error:
                if _status(error) != HTTPStatus.PRECONDITION_FAILED:
                    raise
                return False
        return True

    def list(self, prefix: str) -> list[str]:
        """Lists page by page."""
        return [entry.key for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> Sequence[Entry]:
        """Lists page by page; the clock is the server's, which dates its answers."""
        folder, found = self._folder + folder_of(prefix), []
        with self._translate_errors("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder)
            for page in pages:
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                for item in page.get("Contents", ()):
                    key = str(item["Key"]).removeprefix(self._folder)
                    age_s = (now - item["LastModified"]).total_seconds()
                    found.append(Entry(key, int(item["Size"]), max(age_s, 0.0)))
        # Keys that end in a slash are the folder markers of web consoles, not objects of ours.
        return sorted((entry for entry in found if not entry.key.endswith("/")), key=lambda entry: entry.key)

    def delete_temporaries(self, min_age_s: float) -> int:
        """Deletes nothing: an object is sent in one request, so there are no temporary files."""
        return 0

    def exists(self, key: str) -> bool:
        """Lists one key: unlike HEAD, a listing tells a missing object from a missing bucket."""
        full = self._full_key(key)
        with self._translate_errors("list", key):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=full, MaxKeys=1)
        # The key itself sorts before all longer ones.
        return any(entry["Key"] == full for entry in page.get("Contents", ()))

    def delete(self, key: str) -> None:
        """Deletes the object; S3 accepts a key that is absent."""
        with self._translate_errors("delete", key):
            self._client.delete_object(Bucket=self._bucket, Key=self._full_key(key))

    def local_path(self, key: str) -> None:
        """Returns None: no object of a bucket is a local file."""

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 (boto3 creates its clients at run time and ships no types)
        config = Config(
            connect_timeout=self._connect_timeout_s,
            read_timeout=self._read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": NUM_ATTEMPTS},
        )
        try:
            return boto3.session.Session().client("s3", config=config)
        except ValueError as error:
            raise InputError(f"cannot set up S3 for {self.uri} ({error}): check AWS_ENDPOINT_URL_S3") from error

    def _full_key(self, key: str) -> str:
        return self._folder + validate_key(key)

    def _download(self, key: str) -> bytes:
        body = self._client.get_object(Bucket=self._bucket, Key=self._full_key(key))["Body"]
        try:
            return bytes(body.read())
        except (ReadTimeoutError, HTTPError) as error:  # it stalls, or TLS breaks; botocore tries neither again
            raise ResponseStreamingError(error=error) from error

    def _put_object(self, key: str, data: bytes, **conditions: str) -> None:
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        self._client.put_object(
            Bucket=self._bucket, Key=self._full_key(key), Body=data, ChecksumSHA256=checksum, **conditions
        )

    @contextmanager
    def _translate_errors(self, action: str, key: str) -> Iterator[None]:
        """Turns botocore's errors into one sentence that names the place and what to do, and no secret."""
        try:
            yield
        except ClientError as error:
            raise self._response_error(action, key, error) from error
        except BotoCoreError as error:
            raise self._request_error(key, error) from error

    def _response_error(self, action: str, key: str, error: ClientError) -> PipelineError:
        """Translates an error response; the server's message is left out where it could quote credentials."""
        code, status = str(error.response.get("Error", {}).get("Code", "")), _status(error)
        if code == "NoSuchKey":
            return ObjectMissingError(f"no object {key!r} in {self.uri}")
        if code in _BUCKET_CODES or status == HTTPStatus.MOVED_PERMANENTLY:
            return InputError(
                f"S3 bucket {self._bucket!r} cannot be used ({code or status}): create it, or check its "
                "name, AWS_REGION and AWS_ENDPOINT_URL_S3"
            )
        if code in _REFUSED_CODES or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return InputError(
                f"S3 does not let these credentials {action} {key!r} in {self.uri} ({code or status}): check "
                f"AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and their right to {action} there"
            )
        message = error.response.get("Error", {}).get("Message", "no message")
        num_attempts = 1 + int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0))
        return UnavailableError(
            f"S3 failed to {action} {key!r} in {self.uri} ({status} {code}: {message}; attempts: {num_attempts}): "
            "run the same command again later"
        )

    def _request_error(self, key: str, error: BotoCoreError) -> PipelineError:
        """Translates the error of a request that got no proper response."""
        if isinstance(error, FlexibleChecksumError):
            return CorruptDataError(
                f"object {key!r} in {self.uri} does not have the checksum it was stored with: "
                "restore it, or make it again"
            )
        if isinstance(error, SSLError):
            return UnavailableError(
                f"no trusted TLS connection to {self._client.meta.endpoint_url} for {self.uri} "
                f"({error.kwargs['error']}): set AWS_CA_BUNDLE to a PEM file with the authority that signed its "
                "certificate, and check that AWS_ENDPOINT_URL_S3 has the host name that the certificate is for"
            )
        reason = type(error).__name__
        if isinstance(error, (EndpointUnreachableError, HTTPClientError, *_BODY_ERRORS)):
            return UnavailableError(
                f"cannot reach {self.uri} at {self._client.meta.endpoint_url} ({reason}): "
                "check AWS_ENDPOINT_URL_S3 and the network, then run the same command again"
            )
        # The other errors occur before anything is sent: no credentials, an unknown profile, a bad bucket.
        return InputError(
            f"cannot use {self.uri} ({reason}: {' '.join(str(error).split())}): check its name, and set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_conflict(error: Exception) -> bool:
    return isinstance(error, ClientError) and _status(error) == HTTPStatus.CONFLICT


def _retry(send: Callable[[], T], is_transient: Callable[[Exception], bool]) -> T:
    """Calls ``send`` up to ``NUM_TRIES`` times while the error is transient, after growing random waits."""
    for attempt in range(NUM_TRIES - 1):
        try:
            return send()
        except (ClientError, BotoCoreError) as error:
            if not is_transient(error):
                raise
        time.sleep(FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.0))
    return send()
