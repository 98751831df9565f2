"""Tombstones: manifests of versions that were removed from a dataset to make room; they stay as its history.

A version is removed in two steps that lie far apart. First its manifest moves from ``manifests/`` to ``retired/``: it
becomes a tombstone, and no reader finds the version any more. A grace period later its parts are deleted: whoever had
read the manifest before has had that long, or holds a lease (see ``retention``).
"""

from typing import Generic, TypeVar

from pipeline.failpoints import Failpoint, reach
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectMissingError
from pipeline.storage.publish import NotPublishedError, VersionedDataset, numbers_in

M = TypeVar("M", bound=Manifest)


class Tombstones(Generic[M]):
    """The tombstones of one dataset, by number."""

    def __init__(self, dataset: VersionedDataset[M]) -> None:
        self._dataset = dataset

    def numbers(self) -> list[int]:
        """Returns the numbers that have a tombstone, ascending."""
        return numbers_in(self._dataset.store, f"{self._dataset.prefix}/retired/")

    def read(self, number: int) -> M:
        """Returns the manifest in a tombstone; its parts may be gone. Errors as ``VersionedDataset.read``."""
        return self._dataset.parse(self.key(number), self._dataset.store.get(self.key(number)), number)

    def add(self, number: int) -> None:
        """Turns a published manifest into a tombstone; nothing happens if it is one already. Its parts stay."""
        dataset = self._dataset
        try:
            document = dataset.store.get(dataset.manifest_key(number))
        except ObjectMissingError:  # another prune was faster
            return
        dataset.store.put(self.key(number), document)
        reach(Failpoint.TOMBSTONE)
        dataset.store.delete(dataset.manifest_key(number))
        reach(Failpoint.MANIFEST_DELETED)

    def key(self, number: int) -> str:
        """Returns the key of a tombstone."""
        return self._dataset.tombstone_key(number)


def read_or_tombstone(dataset: VersionedDataset[M], number: int) -> M:
    """Returns the manifest of a number that was published a moment ago, or is pinned, even if it was pruned since.

    Raises:
        NotPublishedError: It was never published.
    """
    try:
        return dataset.read(number)
    except NotPublishedError:
        tombstones = Tombstones(dataset)
        if number in tombstones.numbers():
            return tombstones.read(number)
        raise


def read_history(dataset: VersionedDataset[M]) -> list[M]:
    """Returns all manifests that were ever published, by number; those of pruned versions come from tombstones."""
    manifests = {manifest.number: manifest for manifest in dataset.newest_first()}
    tombstones = Tombstones(dataset)
    # Listed second: a version that is pruned between the two listings is in one of them.
    manifests |= {number: tombstones.read(number) for number in tombstones.numbers() if number not in manifests}
    return [manifests[number] for number in sorted(manifests)]
