"""Leases: who is at work in a workspace and what it reads, renewed while it lasts.

A lease saves work (a second refresh waits for the first one's generation) and keeps what somebody reads from being
pruned. It decides nothing: who wins a race, conditional creates say. So a lease that lapses while its holder lives, or
is taken by two at once, costs time and nothing else. Ages are by the store's clock.
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
LEASE_S = 60.0
"""A lease that was not renewed for so long has lapsed."""
RENEWAL_INTERVAL_S = 15.0


class LeaseRecord(BaseModel):
    """What a lease says.

    Attributes:
        holder: Random id, hexadecimal.
        purpose: What for, in words for people.
        machine: Names the machine and its processes' namespace; process ids of one such name can be compared.
        host: The machine's name, for people.
        process: Process id.
        started: When the process started, in the machine's own count, so that an id that is used again is not it.
        pins: What must not be pruned: keys of manifests, and folders, which end with a slash.
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
        """Whether its process is known to have ended: only on its own machine can that be seen."""
        return self.machine == _machine() and _started(self.process) != self.started


@dataclass(frozen=True)
class Standing:
    """A lease in force.

    Attributes:
        record: What it says.
        age_s: Seconds since it was renewed.
    """

    record: LeaseRecord
    age_s: float


class Lease:
    """A lease that this process holds."""

    def __init__(self, store: ObjectStore, name: str, record: LeaseRecord) -> None:
        """Takes what ``claim`` or ``reader`` made."""
        self._store, self._key, self._record = store, _key(name), record
        self._always = record.pins
        self._ended, self._writing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._renew_until_ended, name=f"lease {name}", daemon=True)

    def pin(self, *pins: str) -> None:
        """Pins these, and besides only what it was made with; in force on return.

        Raises:
            PipelineError: The store fails.
        """
        with self._writing:  # or a renewal that is under way would put the old record over the new one
            self._record = self._record.model_copy(update={"pins": tuple(sorted({*self._always, *pins}))})
            self._put()

    def _put(self) -> None:
        self._store.put(self._key, self._record.model_dump_json(indent=2).encode())

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(RENEWAL_INTERVAL_S):
            # A store may be away for a moment; if it stays away, the lease lapses.
            with suppress(PipelineError), self._writing:
                if self._is_anothers():
                    return
                self._put()

    def _is_anothers(self) -> bool:
        standing = _read(self._store, self._key)
        return standing is not None and standing.holder != self._record.holder

    @contextmanager
    def kept(self) -> Iterator["Lease"]:
        """Renews it while the block runs, and gives it up at the end."""
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()
            with suppress(PipelineError):  # it lapses by itself
                if not self._is_anothers():
                    self._store.delete(self._key)


def claim(store: ObjectStore, name: str, purpose: str, *pins: str) -> Lease | Standing:
    """Claims a piece of work that everybody knows by one name.

    Args:
        store: Of the workspace.
        name: Of the work.
        purpose: In words for people.
        *pins: What it pins.

    Returns:
        The lease, to be used as ``with lease.kept()``; or the one of another holder that is in force.
    """
    record = _record(purpose, pins)
    if store.create(_key(name), record.model_dump_json(indent=2).encode()):
        return Lease(store, name, record)
    standing = find(store, name)
    if standing is not None and standing.record.holder != record.holder:  # equal: our own create, answered late
        return standing
    lease = Lease(store, name, record)
    lease._put()
    return lease


def reader(store: ObjectStore, purpose: str, *pins: str) -> Lease:
    """A lease under a name of its own, for what somebody reads or writes; in force on return, to be ``kept``."""
    record = _record(purpose, pins)
    lease = Lease(store, f"reader-{record.holder}", record)
    lease.pin()
    return lease


def find(store: ObjectStore, name: str) -> Standing | None:
    """The lease of that name, if one is in force."""
    return next(iter(_standing(store, [_key(name)])), None)


def standing_leases(store: ObjectStore) -> list[Standing]:
    """All leases in force."""
    return _standing(store, store.list(PREFIX))


def _standing(store: ObjectStore, keys: Sequence[str]) -> list[Standing]:
    ages = {entry.key: entry.age_s for entry in store.entries(PREFIX)}
    found = []
    for key in keys:
        record = _read(store, key)
        age_s = ages.get(key, 0.0)  # renewed or made since the listing
        if record is not None and age_s <= LEASE_S and not record.is_orphan:
            found.append(Standing(record, age_s))
    return found


def _key(name: str) -> str:
    return f"{PREFIX}/{name}.json"


def _read(store: ObjectStore, key: str) -> LeaseRecord | None:
    """The lease under a key; None where there is none, or something that is no lease and so says nothing."""
    try:
        return LeaseRecord.model_validate_json(store.get(key))
    except (ObjectMissingError, ValidationError):
        return None


def _record(purpose: str, pins: tuple[str, ...]) -> LeaseRecord:
    process = os.getpid()
    return LeaseRecord(
        holder=uuid.uuid4().hex,
        purpose=purpose,
        machine=_machine(),
        host=socket.gethostname(),
        process=process,
        started=_started(process),
        pins=pins,
    )


def _machine() -> str:
    """Names this boot of this machine and the namespace of its process ids; unknowable without Linux's /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"unknown {uuid.uuid4().hex}"


def _started(process: int) -> str:
    """When a process started, in clock ticks since boot; empty where it has ended, if only to be reaped."""
    try:
        # Field 2 is the name in parentheses, which may hold anything; then come the state and, 19 on, the start.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
