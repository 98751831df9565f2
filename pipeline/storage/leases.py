"""Leases: objects that say which process does which work and what it pins, renewed while the work lasts.

A lease is advisory. It saves work (a second refresh waits for the generation of the first), and a prune deletes nothing
that a lease pins. Races are decided by conditional creates alone. So a lease that expires while its holder lives, or
that two processes acquire at once, costs time and nothing else. Ages are measured by the store's clock.
"""

import os
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import PipelineError
from pipeline.storage.object_store import ObjectMissingError, ObjectStore

PREFIX = "leases"
LEASE_DURATION_S = 60.0
"""A lease expires when it has not been renewed for so long."""
RENEWAL_INTERVAL_S = 15.0
_RELEASE_TIMEOUT_S = 10.0  # for a renewal that is under way


class LeaseRecord(BaseModel):
    """The content of a lease's object.

    Attributes:
        holder: Random id, hexadecimal.
        purpose: What the holder does, in words for people.
        machine: Id of this boot of the machine and of its namespace of process ids, where process ids are unique.
        host: The machine's name, for people.
        process: The holder's process id.
        started: When the process started, in clock ticks since boot: it tells apart two processes with the same id.
        pins: What a prune must not delete: keys of manifests, and folders, which end with a slash.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    holder: str
    purpose: str
    machine: str
    host: str
    process: int
    started: str
    pins: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.purpose} (host {self.host}, process {self.process})"

    @property
    def is_orphan(self) -> bool:
        """Whether the holder's process is known to have ended, which only its own machine can tell."""
        return self.machine == _machine_id() and _start_ticks(self.process) != self.started


@dataclass(frozen=True)
class ActiveLease:
    """A lease of any process that has not expired and whose holder is not known to have ended.

    Attributes:
        record: Its content.
        age_s: Seconds since it was renewed.
    """

    record: LeaseRecord
    age_s: float


class Lease:
    """A lease that this process holds, as ``acquire`` and ``acquire_pins`` return it."""

    def __init__(self, store: ObjectStore, name: str, record: LeaseRecord) -> None:
        self._store, self._key, self._record = store, _key(name), record
        self._initial_pins = record.pins
        self._is_over, self._write_lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._renew_until_over, name=f"lease {name}", daemon=True)

    def set_pins(self, *pins: str) -> None:
        """Replaces all pins but those that the lease was acquired with; in force on return.

        Raises:
            PipelineError: The store fails.
        """
        with self._write_lock:  # else a renewal that is under way would put the old record over the new one
            self._record = self._record.model_copy(update={"pins": tuple(sorted({*self._initial_pins, *pins}))})
            self._put()

    def _put(self) -> None:
        self._store.put(self._key, self._record.model_dump_json(indent=2).encode())

    def _renew_until_over(self) -> None:
        while not self._is_over.wait(RENEWAL_INTERVAL_S):
            # The store may be unavailable for a moment; if it stays unavailable, the lease expires.
            with suppress(PipelineError), self._write_lock:
                if self._has_another_holder():
                    return
                self._put()

    def _has_another_holder(self) -> bool:
        record = _read(self._store, self._key)
        return record is not None and record.holder != self._record.holder

    @contextmanager
    def renewing(self) -> Iterator["Lease"]:
        """Renews the lease while the block runs, and releases it at the end."""
        self._thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            self._thread.join(_RELEASE_TIMEOUT_S)
            if not self._thread.is_alive():  # else the store does not answer, and a job that is stopped must end
                with suppress(PipelineError):  # a lease that is not released expires
                    if not self._has_another_holder():
                        self._store.delete(self._key)


def acquire(store: ObjectStore, name: str, purpose: str, *pins: str) -> Lease | ActiveLease:
    """Acquires the lease on a piece of work, or finds out who holds it; does not wait.

    Args:
        store: The workspace's.
        name: The name by which all jobs know the work.
        purpose: What the holder does, in words for people.
        *pins: What the holder needs; see ``LeaseRecord``.

    Returns:
        Our lease, to be used as ``with lease.renewing()``; or the active lease of another holder.
    """
    record = _make_record(purpose, pins)
    if store.create(_key(name), record.model_dump_json(indent=2).encode()):
        return Lease(store, name, record)
    active = find_lease(store, name)
    if active is not None and active.record.holder != record.holder:  # equal: our own create, answered late
        return active
    lease = Lease(store, name, record)
    lease._put()
    return lease


def acquire_pins(store: ObjectStore, purpose: str, *pins: str) -> Lease:
    """Acquires a lease that pins what this process reads or writes, and excludes nobody; in force on return."""
    record = _make_record(purpose, pins)
    lease = Lease(store, f"reader-{record.holder}", record)
    lease.set_pins()
    return lease


def find_lease(store: ObjectStore, name: str) -> ActiveLease | None:
    """Returns the lease of that name if it is active."""
    return next(iter(_active_leases(store, [_key(name)])), None)


def list_leases(store: ObjectStore) -> list[ActiveLease]:
    """Returns all active leases."""
    return _active_leases(store, store.list(PREFIX))


def _active_leases(store: ObjectStore, keys: Sequence[str]) -> list[ActiveLease]:
    ages = {entry.key: entry.age_s for entry in store.entries(PREFIX)}
    found = []
    for key in keys:
        record = _read(store, key)
        age_s = ages.get(key, 0.0)  # renewed or created since the listing
        if record is not None and age_s <= LEASE_DURATION_S and not record.is_orphan:
            found.append(ActiveLease(record, age_s))
    return found


def _key(name: str) -> str:
    return f"{PREFIX}/{name}.json"


def _read(store: ObjectStore, key: str) -> LeaseRecord | None:
    """Returns the lease under a key; None if there is no object, or one that is not a lease."""
    try:
        return LeaseRecord.model_validate_json(store.get(key))
    except (ObjectMissingError, ValidationError):
        return None


def _make_record(purpose: str, pins: tuple[str, ...]) -> LeaseRecord:
    process = os.getpid()
    return LeaseRecord(
        holder=uuid.uuid4().hex,
        purpose=purpose,
        machine=_machine_id(),
        host=socket.gethostname(),
        process=process,
        started=_start_ticks(process),
        pins=pins,
    )


def _machine_id() -> str:
    """Returns the id of this boot and of its namespace of process ids; a random one without Linux's /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"unknown {uuid.uuid4().hex}"


def _start_ticks(process: int) -> str:
    """Returns when a process started, in clock ticks since boot; empty if it has ended, even if it is a zombie."""
    try:
        # Field 2 is the name in parentheses, which may hold anything; then come the state and, 19 on, the start.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
