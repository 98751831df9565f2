"""Object stores: their interface, how a store is opened, and the probe that tests its conditional creates.

The pipeline writes objects whole, never streams them, and decides every race by one conditional create. A
store that cannot do that is refused by ``probe`` before anything relies on it.
"""

import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from pipeline.errors import InputError, UnavailableError
from pipeline.storage.keys import Entry, ObjectMissingError
from pipeline.storage.local_store import LocalStore
from pipeline.storage.s3_store import S3Store

__all__ = ["PROBE_PREFIX", "Entry", "ObjectMissingError", "ObjectStore", "open_store", "probe"]

PROBE_PREFIX = ".probe"
"""Folder of the short-lived objects that test a store."""


class ObjectStore(Protocol):
    """Whole objects under keys such as ``corpus/manifests/000000000.json``.

    No reader ever sees a half-written object. Every method raises InputError for a key that is not a relative
    path below the root and for a store that is misconfigured (bucket, credentials, folder), and
    UnavailableError for a store that cannot be reached or has no space left. Stores can be pickled and sent to
    other processes.
    """

    @property
    def uri(self) -> str:
        """The root, as a person writes it and ``open_store`` accepts it."""

    def get(self, key: str) -> bytes:
        """Returns the whole object; raises ObjectMissingError if there is none."""

    def put(self, key: str, data: bytes) -> None:
        """Stores the whole object and replaces an older one; durable on return."""

    def create(self, key: str, data: bytes) -> bool:
        """Stores the object if the key is free, in one atomic step.

        Returns:
            True if stored. False if the key exists, and then nothing has changed; over a network this very call may
            have created it, sent again after its first answer was lost, so compare contents to be sure.
        """

    def list(self, prefix: str) -> list[str]:
        """Returns all keys below the folder ``prefix`` at any depth, sorted; ``""`` means the whole store."""

    def entries(self, prefix: str) -> Sequence[Entry]:
        """Returns what ``list`` does, with sizes, and ages by the store's own clock."""

    def exists(self, key: str) -> bool:
        """Says whether an object is stored under the key."""

    def delete(self, key: str) -> None:
        """Deletes the object; does nothing if it is absent."""

    def delete_temporaries(self, min_age_s: float) -> int:
        """Deletes temporary files of killed writers that are older by the store's clock; returns how many.

        No listing shows them, and no reader can read them: they only take up room.
        """

    def local_path(self, key: str) -> Path | None:
        """Returns the object's file on this machine, which others may map and read; None in a remote store."""


def open_store(uri: str) -> ObjectStore:
    """Opens the store at ``s3://bucket/prefix``, ``file:///folder`` or a local path; touches nothing yet.

    Raises:
        InputError: The URI is of none of these forms.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri:
            raise InputError("the workspace is empty: name a local folder or s3://bucket/prefix")
        return LocalStore(Path(os.path.expanduser(uri)))  # noqa: PTH111 (Path.expanduser raises without a home)
    if scheme not in STORES:
        known = " or ".join(f"{name}://" for name in STORES)
        raise InputError(f"workspace {uri!r} has the unknown scheme {scheme!r}: use a local folder, {known}")
    return STORES[scheme](rest)


def _open_folder(rest: str) -> LocalStore:
    if not rest.startswith("/"):
        raise InputError(f"workspace {'file://' + rest!r} names a host: write file:///absolute/path")
    return LocalStore(Path(unquote(rest)))


def _open_bucket(rest: str) -> S3Store:
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:  # no message may repeat what precedes it: it may be a secret
        raise InputError(
            "an s3:// address holds no credentials: write s3://bucket/prefix, and give them as AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role"
        )
    if not bucket:
        raise InputError(f"workspace {'s3://' + rest!r} names no bucket: write s3://bucket/prefix")
    return S3Store(bucket, prefix)


STORES: dict[str, Callable[[str], ObjectStore]] = {"file": _open_folder, "s3": _open_bucket}
"""By scheme, given what follows ``://``."""


def probe(store: ObjectStore) -> None:
    """Checks that the second of two conditional creates under one key changes nothing.

    Some S3 gateways ignore ``If-None-Match`` silently; two publishers would then overwrite each other.

    Raises:
        UnavailableError: The store accepts the second create, or loses the first.
    """
    key = f"{PROBE_PREFIX}/create-{uuid.uuid4().hex}"
    store.create(key, b"first")  # False would be a retry that meets its first try; the stored object decides
    second_accepted = store.create(key, b"second")
    content = store.get(key) if store.exists(key) else None
    store.delete(key)
    if second_accepted or content != b"first":
        raise UnavailableError(
            f"store {store.uri} does not honour conditional creates (If-None-Match: *), so two publishers "
            "could overwrite each other: use a local folder, AWS S3, or a gateway that does, such as "
            "SeaweedFS 4.48 or newer"
        )
