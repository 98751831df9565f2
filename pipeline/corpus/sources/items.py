"""What a source of examples yields: items, and what it had to leave out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.corpus.payloads import Content, Payload


@dataclass(frozen=True, slots=True)
class Item:
    """One usable example.

    Attributes:
        label: The identity, never empty.
        content: An encoded image that decodes, or a finite, non-zero float32 vector (D,).
        path: Where the example came from, relative to the source; the user's own id for a vector.
    """

    label: str
    content: Content
    path: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """One entry that is no example, and why: a row of the quarantine.

    Attributes:
        path: Where it is, relative to the source.
        reason: A short, fixed word such as ``undecodable``, counted in the manifest.
        detail: What exactly was found, for a person.
    """

    path: str
    reason: str
    detail: str


class Source(Protocol):
    """A stream of examples, in an order that is the same each time."""

    @property
    def description(self) -> str:
        """Kind and place, for the manifest and for messages."""

    @property
    def payload(self) -> Payload[Any]:
        """What every item of this source holds."""

    @property
    def num_entries(self) -> int | None:
        """Items and rejected entries in all; None where only the end of the stream tells."""

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Streams from the start; memory does not grow with the number of entries."""
