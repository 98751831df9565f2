"""Publishes two numbers of two parts each, those that are missing: ``python -m tests.faults.publish_two URI``."""

import sys

from pipeline.storage.object_store import open_store
from tests.unit.storage.samples import manifest_of, things

NUMBERS, PARTS = range(2), range(2)


def part_of(number: int, part: int) -> bytes:
    return f"part {part} of number {number}".encode() * 10_000


def publish(uri: str) -> None:
    dataset = things(open_store(uri))
    for number in sorted(set(NUMBERS) - set(dataset.numbers())):
        transaction = dataset.begin(number)
        for part in PARTS:
            transaction.add_part("thing", f"{part}.bin", part_of(number, part), 1)
        assert transaction.commit(manifest_of(transaction))[1]


if __name__ == "__main__":
    publish(sys.argv[1])
