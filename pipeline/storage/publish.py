"""Publishing: parts under names never used before, then one manifest by one conditional create.

A versioned dataset is a folder of numbered manifests; a transaction adds a number to it. Nothing is visible before its
manifest is, and a manifest names every part with its size and SHA-256, so readers list manifests, never data.
"""

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from pipeline.errors import CorruptDataError, InputError, PipelineError
from pipeline.failpoints import Failpoint, reach
from pipeline.storage.manifest import LAST_NUMBER, Manifest, PartRecord, library_versions
from pipeline.storage.object_store import ObjectMissingError, ObjectStore

__all__ = ["Manifest", "NotPublishedError", "PartRecord", "Transaction", "VersionedDataset", "library_versions"]

M = TypeVar("M", bound=Manifest)


class NotPublishedError(InputError):
    """The dataset has no manifest with that number."""


class VersionedDataset(Generic[M]):
    """The published versions of one thing, such as ``corpus`` or ``runs/main/checkpoints``, by number.

    Args:
        store: Holds the bytes.
        prefix: Folder of the dataset: ``<prefix>/manifests/<n, 9 digits>.json``, ``<prefix>/data/…``.
        manifest_type: Class of its manifests.
    """

    def __init__(self, store: ObjectStore, prefix: str, manifest_type: type[M]) -> None:
        self.store, self.prefix, self.manifest_type = store, prefix, manifest_type

    def numbers(self) -> list[int]:
        """Returns the published numbers, ascending; files that are not manifests are ignored."""
        return numbers_in(self.store, f"{self.prefix}/manifests/")

    def latest(self) -> M | None:
        """Returns the manifest with the highest number, or None if nothing is published."""
        numbers = self.numbers()
        return self.read(numbers[-1]) if numbers else None

    def newest_first(self) -> Iterator[M]:
        """Reads the published manifests, one after the other; one that is pruned meanwhile is left out."""
        for number in reversed(self.numbers()):
            with suppress(NotPublishedError):
                yield self.read(number)

    def read(self, number: int) -> M:
        """Returns a manifest.

        Raises:
            NotPublishedError: Nothing is published under the number.
            CorruptDataError: What is stored is no manifest of this kind and format, or names parts of others.
        """
        key = self.manifest_key(number)
        try:
            document = self.store.get(key)
        except ObjectMissingError:
            raise NotPublishedError(
                f"number {number} is not published under {self.prefix!r} in {self.store.uri}: "
                f"choose one of {self.numbers()}"
            ) from None
        return self.parse(key, document, number)

    def parse(self, key: str, document: bytes, number: int) -> M:
        """Returns the manifest of ``number`` that was stored under ``key``; raises CorruptDataError as ``read``."""
        try:
            manifest = self.manifest_type.model_validate_json(document)
        except ValidationError as error:
            raise CorruptDataError(
                f"manifest {key!r} in {self.store.uri} is not a {self.manifest_type.__name__} of format 1 "
                f"({_first_problem(error)}): restore it, or read it with the version that wrote it"
            ) from error
        if manifest.number != number:
            raise CorruptDataError(
                f"manifest {key!r} in {self.store.uri} says that it is number {manifest.number}: restore it"
            )
        for part in manifest.parts:  # a manifest is data: it may not send its readers elsewhere
            if not _is_directly_in(self.data_folder(number, manifest.writer), part.key):
                raise CorruptDataError(
                    f"manifest {key!r} in {self.store.uri} names the part {part.key!r}, which is not in its folder: "
                    "restore it"
                )
        return manifest

    def read_part(self, part: PartRecord) -> bytes:
        """Returns the bytes of a part.

        Raises:
            CorruptDataError: The part is missing, or its size or SHA-256 is not the one that its manifest records.
            InputError: The version that the part belongs to was removed meanwhile.
        """
        where = f"part {part.key!r} in {self.store.uri}"
        manifest = self.manifest_key(self._number_of(part))
        advice = f"restore it, or remove {manifest!r} and run the job that published it again"
        try:
            data = self.store.get(part.key)
        except ObjectMissingError:
            number = self._number_of(part)
            if number not in self.numbers():
                raise InputError(
                    f"number {number} of {self.prefix!r} in {self.store.uri} was removed while it was read: choose one "
                    f"of {self.numbers()}"
                ) from None
            raise CorruptDataError(f"{where} is missing although its manifest names it: {advice}") from None
        if len(data) != part.num_bytes:
            raise CorruptDataError(f"{where} has {len(data)} bytes instead of {part.num_bytes}: {advice}")
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise CorruptDataError(f"{where} does not have the SHA-256 that its manifest records: {advice}")
        return data

    def begin(self, number: int) -> "Transaction[M]":
        """Begins a transaction that adds ``number``; nothing is visible until ``Transaction.commit``."""
        if not 0 <= number <= LAST_NUMBER:
            raise ValueError(f"a published number lies between 0 and {LAST_NUMBER}, not {number}")
        return Transaction(self, number)

    def _number_of(self, part: PartRecord) -> int:
        """Returns the number that a part was put for; see ``Transaction.add_part``."""
        return int(part.key.removeprefix(f"{self.prefix}/data/").partition("-")[0])

    def tombstone_key(self, number: int) -> str:
        """Returns the key that a manifest has after it was pruned; see ``Tombstones``."""
        return f"{self.prefix}/retired/{number:09d}.json"

    def manifest_key(self, number: int) -> str:
        """Returns the key of a manifest."""
        return f"{self.prefix}/manifests/{number:09d}.json"

    def data_folder(self, number: int, writer: str) -> str:
        """Returns the folder of the parts that one transaction puts for a number."""
        return f"{self.prefix}/data/{number}-{writer}"


class Transaction(Generic[M]):
    """Adds one number to a dataset. Its parts lie in a folder that no other transaction uses.

    Attributes:
        number: The number that its manifest will have.
        writer: Random id of the transaction, hexadecimal.
    """

    def __init__(self, dataset: VersionedDataset[M], number: int) -> None:
        self._dataset = dataset
        self.number, self.writer = number, uuid.uuid4().hex
        self._parts: dict[str, PartRecord | None] = {}  # None: deleted

    @property
    def parts(self) -> tuple[PartRecord, ...]:
        """The parts put so far, in the order they were added."""
        return tuple(part for part in self._parts.values() if part is not None)

    def add_part(self, role: str, name: str, data: bytes, num_rows: int) -> PartRecord:
        """Puts a complete part and returns its record; raises ValueError for a name used before."""
        key = f"{self._dataset.data_folder(self.number, self.writer)}/{name}"
        if key in self._parts:
            raise ValueError(f"part {name!r} was added before: a transaction never uses a name twice")
        digest = hashlib.sha256(data).hexdigest()
        part = PartRecord(role=role, key=key, num_bytes=len(data), num_rows=num_rows, sha256=digest)
        reach(Failpoint.PART)
        self._dataset.store.put(key, data)
        self._parts[key] = part
        reach(Failpoint.PART_PUT)
        return part

    def read_part(self, part: PartRecord) -> bytes:
        """Returns the bytes of a part that was put; errors as ``VersionedDataset.read_part``."""
        return self._dataset.read_part(part)

    def delete_part(self, part: PartRecord) -> None:
        """Deletes a part that was put; its name is not used again."""
        self._dataset.store.delete(part.key)
        self._parts[part.key] = None

    @contextmanager
    def rollback_on_error(self) -> Iterator[None]:
        """Deletes the parts that were put if the block ends with an exception: nobody will ever read them."""
        try:
            yield
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """Deletes the parts that were put."""
        with suppress(PipelineError):  # the error that led here is the one to report; jobs.prune deletes what is left
            for part in self.parts:
                self.delete_part(part)

    def manifest_fields(self) -> dict[str, Any]:
        """Returns the fields of the manifest that the transaction knows, as arguments of its constructor."""
        return {
            "number": self.number,
            "writer": self.writer,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": library_versions(),
            "parts": self.parts,
        }

    def commit(self, manifest: M) -> tuple[M, bool]:
        """Makes the manifest visible, unless another transaction was committed under the number before.

        Returns:
            The manifest that is now published under the number, and whether it is ours. A refused create whose
            stored manifest carries our writer id is our own: an earlier try of it had already got through.
        """
        if (manifest.number, manifest.writer, manifest.parts) != (self.number, self.writer, self.parts):
            raise ValueError("a manifest must have the number, writer and parts of its own transaction")
        dataset = self._dataset
        document = (manifest.model_dump_json(indent=2) + "\n").encode()
        tombstone = dataset.tombstone_key(self.number)
        if dataset.store.exists(tombstone):  # a writer that slept that long must not take a number that is free again
            self.roll_back()
            return dataset.parse(tombstone, dataset.store.get(tombstone), self.number), False
        reach(Failpoint.MANIFEST)
        created = dataset.store.create(dataset.manifest_key(self.number), document)
        reach(Failpoint.MANIFEST_CREATED)
        if created:
            return manifest, True
        committed = dataset.read(self.number)
        if committed.writer != self.writer:
            self.roll_back()
        return committed, committed.writer == self.writer


def numbers_in(store: ObjectStore, folder: str) -> list[int]:
    """Returns the numbers of the manifests in a folder, ascending; other files are ignored."""
    names = (key.removeprefix(folder) for key in store.list(folder))
    return [int(name.removesuffix(".json")) for name in names if re.fullmatch(r"[0-9]{9}\.json", name)]


def _is_directly_in(folder: str, key: str) -> bool:
    parent, _, name = key.rpartition("/")
    return parent == folder and name not in {"", ".", ".."}


def _first_problem(error: ValidationError) -> str:
    problems: Iterable[Any] = error.errors(include_url=False, include_context=False, include_input=False)
    problem = next(iter(problems))
    place = ".".join(str(step) for step in problem["loc"]) or "document"
    return f"{place}: {problem['msg']}"
