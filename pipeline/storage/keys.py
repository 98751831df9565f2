"""What a key is: the name of an object below a store's root, the same for every kind of store."""

from dataclasses import dataclass

from pipeline.errors import InputError

TEMPORARY_PREFIX = ".tmp-"
"""Names that begin so are objects still being written; no key may, and no listing shows them."""


class ObjectMissingError(InputError):
    """No object is stored under the key."""


@dataclass(frozen=True)
class Entry:
    """An object in a listing.

    Attributes:
        key: Its name.
        num_bytes: Its size.
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
    """Returns a listing prefix as ``""`` (everything) or ``"a/b/"``; refuses as ``validate_key`` does."""
    stripped = prefix.rstrip("/")
    return validate_key(stripped) + "/" if stripped else ""
