"""Retired numbers: taken out of a dataset to make room; their manifests stay, as its history.

A number retires in two steps that lie far apart. First its manifest moves from ``manifests/`` to ``retired/``: nobody
finds it any more. A grace period later its parts are deleted: whoever had read the manifest before has had that long,
or holds a lease (see ``retention``).
"""

import re
from typing import Generic, TypeVar

from pipeline.failpoints import Failpoint, reach
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectMissingError
from pipeline.storage.publish import NotPublishedError, VersionedDataset

M = TypeVar("M", bound=Manifest)


class Retired(Generic[M]):
    """What was taken out of one dataset.

    Args:
        dataset: It.
    """

    def __init__(self, dataset: VersionedDataset[M]) -> None:
        self._dataset = dataset

    def numbers(self) -> list[int]:
        """Returns the retired numbers, ascending."""
        folder = f"{self._dataset.prefix}/retired/"
        names = (key.removeprefix(folder) for key in self._dataset.store.list(folder))
        return [int(name.removesuffix(".json")) for name in names if re.fullmatch(r"[0-9]{9}\.json", name)]

    def read(self, number: int) -> M:
        """Returns the manifest that a number had; its parts may be gone. Errors as ``VersionedDataset.read``."""
        return self._dataset.parse(self.key(number), self._dataset.store.get(self.key(number)), number)

    def add(self, number: int) -> None:
        """Takes a published number out; one that was taken out before is fine. Its parts stay."""
        dataset = self._dataset
        try:
            document = dataset.store.get(dataset.manifest_key(number))
        except ObjectMissingError:  # another prune was faster
            return
        dataset.store.put(self.key(number), document)
        reach(Failpoint.RETIRED)
        dataset.store.delete(dataset.manifest_key(number))
        reach(Failpoint.MANIFEST_DELETED)

    def key(self, number: int) -> str:
        """Returns the key of a retired manifest."""
        return self._dataset.retired_key(number)


def read_even_retired(dataset: VersionedDataset[M], number: int) -> M:
    """The manifest of a number that was found standing a moment ago, or is pinned: it may retire all the same.

    Raises:
        NotPublishedError: It was never published.
    """
    try:
        return dataset.read(number)
    except NotPublishedError:
        retired = Retired(dataset)
        if number in retired.numbers():
            return retired.read(number)
        raise


def history(dataset: VersionedDataset[M]) -> list[M]:
    """All manifests that were ever published, by number: those that stand, and those that are retired."""
    manifests = {manifest.number: manifest for manifest in dataset.newest_first()}
    retired = Retired(dataset)
    # Looked at second: what retires between the two looks is in one of them.
    manifests |= {number: retired.read(number) for number in retired.numbers() if number not in manifests}
    return [manifests[number] for number in sorted(manifests)]
