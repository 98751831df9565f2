"""The sweep phase of a prune, as a plan: which versions get a tombstone, and which objects are deleted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import RetentionConfig
from pipeline.retention.live_set import LiveSet, mark
from pipeline.retention.snapshot import Snapshot
from pipeline.storage import leases
from pipeline.storage.object_store import PROBE_PREFIX, Entry
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.tombstones import Tombstones


@dataclass(frozen=True)
class DeadVersion:
    """A published version outside of the live set: it gets a tombstone, and a prune after the grace period its parts.

    Attributes:
        dataset: The dataset that it is a version of.
        number: Its number.
        num_bytes: Size of the parts that will be deleted.
    """

    dataset: VersionedDataset[Any]
    number: int
    num_bytes: int


@dataclass(frozen=True)
class Garbage:
    """Objects to delete now.

    Attributes:
        description: What they are, in words for people.
        entries: The objects.
    """

    description: str
    entries: tuple[Entry, ...]

    @property
    def num_bytes(self) -> int:
        """Their size."""
        return sum(entry.num_bytes for entry in self.entries)


@dataclass(frozen=True)
class Sweep:
    """What a prune will do."""

    dead_versions: tuple[DeadVersion, ...]
    garbage: tuple[Garbage, ...]


def plan_sweep(snapshot: Snapshot, retention: RetentionConfig) -> Sweep:
    """Finds what is not live; reads tombstones, and changes nothing."""
    live = mark(snapshot, retention)
    dead_versions: list[DeadVersion] = []
    garbage: list[Garbage] = []
    for dataset, manifests, lasting_roles in snapshot.datasets():
        for number, manifest in sorted(manifests.items()):
            if dataset.manifest_key(number) not in live.manifests:
                num_bytes = sum(part.num_bytes for part in manifest.parts if part.role not in lasting_roles)
                dead_versions.append(DeadVersion(dataset, number, num_bytes))
        garbage += _dead_parts(snapshot, dataset, manifests, lasting_roles, retention.grace_s)
    garbage += [*_dead_embeddings(snapshot, live, retention.grace_s), *_leftovers(snapshot, retention.grace_s)]
    return Sweep(tuple(dead_versions), tuple(group for group in garbage if group.entries))


def _dead_parts(
    snapshot: Snapshot,
    dataset: VersionedDataset[Any],
    manifests: Mapping[int, Any],
    lasting_roles: frozenset[str],
    grace_s: float,
) -> Iterator[Garbage]:
    """Finds the parts of versions with a tombstone, and of transactions that were not committed."""
    tombstones = Tombstones(dataset)
    with_tombstone = set(tombstones.numbers())  # listed after the manifests: another prune may be at work
    for folder, entries in _by_folder(snapshot.below(f"{dataset.prefix}/data/")).items():
        text, _, writer = folder.rpartition("/")[2].partition("-")
        if not text.isdecimal():
            continue
        number, key = int(text), dataset.manifest_key(int(text))
        is_published = number in manifests and manifests[number].writer == writer
        if is_published or f"{folder}/" in snapshot.pins or key in snapshot.pins:
            continue
        if number in with_tombstone and (pruned := tombstones.read(number)).writer == writer:
            tombstone = snapshot.entries.get(tombstones.key(number))
            if tombstone is None or tombstone.age_s < grace_s or key in snapshot.entries:
                continue
            lasting = {part.key for part in pruned.parts if part.role in lasting_roles}
            dead = tuple(entry for entry in entries if entry.key not in lasting)
            yield Garbage(f"parts of {dataset.prefix} {number}, which has a tombstone", dead)
        elif min(entry.age_s for entry in entries) >= grace_s:
            yield Garbage(f"parts of {dataset.prefix} {number} that were never committed", tuple(entries))


def _dead_embeddings(snapshot: Snapshot, live: LiveSet, grace_s: float) -> Iterator[Garbage]:
    """Finds the embeddings that no live generation names, once they are old."""
    for folder, entries in _by_folder(snapshot.below("embeddings/")).items():
        key = folder.rpartition("/")[2]
        is_old = min(entry.age_s for entry in entries) >= grace_s
        if key not in live.embeddings and f"{folder}/" not in snapshot.pins and is_old:
            yield Garbage(f"embeddings {key}", tuple(entries))


def _leftovers(snapshot: Snapshot, grace_s: float) -> Iterator[Garbage]:
    """Finds the probes and leases that killed jobs did not delete."""
    min_age_s = max(grace_s, leases.LEASE_DURATION_S)
    for prefix, what in ((PROBE_PREFIX, "probes of the store"), (leases.PREFIX, "leases")):
        old = tuple(entry for entry in snapshot.below(f"{prefix}/") if entry.age_s > min_age_s)
        yield Garbage(f"{what} that killed jobs left", old)


def _by_folder(entries: list[Entry]) -> dict[str, list[Entry]]:
    folders: dict[str, list[Entry]] = {}
    for entry in entries:
        folders.setdefault(entry.key.rpartition("/")[0], []).append(entry)
    return folders
