"""Keys: the names of objects below a store's root, with the same rules for every kind of store."""

from dataclasses import dataclass

from pipeline.errors import InputError

TEMPORARY_PREFIX = ".tmp-"
"""Files whose names begin so are still being written; no key may begin so, and no listing shows them."""


class ObjectMissingError(InputError):
    """There is no object under the key."""


@dataclass(frozen=True)
class Entry:
    """An object in a listing.

    Attributes:
        key: The object's key.
        num_bytes: The object's size.
        age_s: Seconds since it was stored, by the store's clock; never negative.
    """

    key: str
    num_bytes: int
    age_s: float


def validate_key(key: str) -> str:
    """Returns ``key`` if it names an object below the root of a store.

    Raises:
        InputError: The key is empty, absolute, has an empty, ``.`` or ``..`` segment, holds a NUL, or has a
            segment that begins with the prefix of temporary files.
    """
    segments = key.split("/")
    if "\0" in key or any(segment in {"", ".", ".."} for segment in segments):
        raise InputError(f"object key {key!r} must be a relative path without empty, '.' or '..' segments")
    if any(segment.startswith(TEMPORARY_PREFIX) for segment in segments):
        raise InputError(f"object key {key!r} must not have a segment that begins with {TEMPORARY_PREFIX!r}")
    return key


def folder_of(prefix: str) -> str:
    """Returns a listing prefix as ``""`` (everything) or ``"a/b/"``; raises InputError as ``validate_key``."""
    stripped = prefix.rstrip("/")
    return validate_key(stripped) + "/" if stripped else ""
