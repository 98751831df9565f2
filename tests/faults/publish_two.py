"""Publishes two numbers of two parts each, those that are missing: ``python -m tests.faults.publish_two URI``."""

import sys

from pipeline.storage.object_store import open_store
from pipeline.storage.publish import Manifest, VersionedDataset

NUMBERS, PARTS = range(2), range(2)


def dataset(uri: str) -> VersionedDataset[Manifest]:
    return VersionedDataset(open_store(uri), "things", Manifest)


def part_of(number: int, part: int) -> bytes:
    return f"part {part} of number {number}".encode() * 10_000


def publish(uri: str) -> None:
    things = dataset(uri)
    for number in sorted(set(NUMBERS) - set(things.numbers())):
        transaction = things.begin(number)
        for part in PARTS:
            transaction.add_part("thing", f"{part}.bin", part_of(number, part), 1)
        assert transaction.commit(
            Manifest(**transaction.manifest_fields(), parent=None, seed=0, config_digest="c" * 64)
        )[1]


if __name__ == "__main__":
    publish(sys.argv[1])
