"""What a prune will do, before it does anything."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import RetentionConfig
from pipeline.retention.holdings import Holdings
from pipeline.retention.kept import Kept, choose
from pipeline.storage import leases
from pipeline.storage.object_store import PROBE_PREFIX, Entry
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.tombstones import Tombstones


@dataclass(frozen=True)
class Retirement:
    """A number that leaves its dataset; its parts go when a later prune finds the grace period over.

    Attributes:
        dataset: It.
        number: The number.
        num_bytes: Of its parts.
    """

    dataset: VersionedDataset[Any]
    number: int
    num_bytes: int


@dataclass(frozen=True)
class Removal:
    """Objects that go now.

    Attributes:
        what: In words for people.
        entries: The objects.
    """

    what: str
    entries: tuple[Entry, ...]

    @property
    def num_bytes(self) -> int:
        """Their size."""
        return sum(entry.num_bytes for entry in self.entries)


@dataclass(frozen=True)
class Plan:
    """What a prune will do."""

    retirements: tuple[Retirement, ...]
    removals: tuple[Removal, ...]


def make_plan(holdings: Holdings, retention: RetentionConfig) -> Plan:
    """Plans; reads manifests, and changes nothing."""
    kept = choose(holdings, retention)
    retirements: list[Retirement] = []
    removals: list[Removal] = []
    for dataset, standing, lasting in holdings.datasets():
        for number, manifest in sorted(standing.items()):
            if dataset.manifest_key(number) not in kept.manifests:
                num_bytes = sum(part.num_bytes for part in manifest.parts if part.role not in lasting)
                retirements.append(Retirement(dataset, number, num_bytes))
        removals += _of_dataset(holdings, dataset, standing, lasting, retention.grace_s)
    removals += _unnamed(holdings, kept, retention.grace_s)
    return Plan(tuple(retirements), tuple(removal for removal in removals if removal.entries))


def _of_dataset(
    holdings: Holdings,
    dataset: VersionedDataset[Any],
    standing: Mapping[int, Any],
    lasting: frozenset[str],
    grace_s: float,
) -> Iterator[Removal]:
    """Parts of the retired, and of transactions that were not committed."""
    retired = Tombstones(dataset)
    graves = set(retired.numbers())  # after the manifests were looked at: another prune may be at work
    for folder, entries in _by_folder(holdings.below(f"{dataset.prefix}/data/")).items():
        number, _, writer = folder.rpartition("/")[2].partition("-")
        if not number.isdecimal():
            continue
        place, key = f"{dataset.prefix} {int(number)}", dataset.manifest_key(int(number))
        if f"{folder}/" in holdings.pins or key in holdings.pins:
            continue
        manifest = standing.get(int(number))
        if manifest is not None and manifest.writer == writer:
            continue
        if int(number) in graves and (was := retired.read(int(number))).writer == writer:
            grave = holdings.entries.get(retired.key(int(number)))
            if grave is None or grave.age_s < grace_s or key in holdings.entries:
                continue
            history = {part.key for part in was.parts if part.role in lasting}
            yield Removal(f"parts of {place}, retired", tuple(one for one in entries if one.key not in history))
        elif min(entry.age_s for entry in entries) >= grace_s:
            yield Removal(f"parts of a transaction on {place} that was not committed", tuple(entries))


def _unnamed(holdings: Holdings, kept: Kept, grace_s: float) -> Iterator[Removal]:
    """Embeddings that no kept generation names, and what jobs that were killed left of probes and leases."""
    for folder, entries in _by_folder(holdings.below("embeddings/")).items():
        key = folder.rpartition("/")[2]
        is_old = min(entry.age_s for entry in entries) >= grace_s
        if key not in kept.embeddings and f"{folder}/" not in holdings.pins and is_old:
            yield Removal(f"embeddings {key}", tuple(entries))
    for prefix, what in ((PROBE_PREFIX, "probes of the store"), (leases.PREFIX, "leases")):
        lapsed = tuple(
            entry for entry in holdings.below(f"{prefix}/") if entry.age_s > max(grace_s, leases.LEASE_DURATION_S)
        )
        yield Removal(f"{what} that killed jobs left", lapsed)


def _by_folder(entries: list[Entry]) -> dict[str, list[Entry]]:
    folders: dict[str, list[Entry]] = {}
    for entry in entries:
        folders.setdefault(entry.key.rpartition("/")[0], []).append(entry)
    return folders
