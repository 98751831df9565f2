import pytest

from pipeline.errors import InputError
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.publish import Manifest, VersionedDataset
from pipeline.storage.tombstones import Tombstones, read_history, read_or_tombstone
from tests.unit.storage.samples import manifest_of, things


def publish(dataset: VersionedDataset[Manifest], number: int) -> Manifest:
    transaction = dataset.begin(number)
    transaction.add_part("rows", "rows", str(number).encode(), 1)
    return transaction.commit(manifest_of(transaction))[0]


def test_a_version_with_a_tombstone_is_not_listed_and_stays_in_the_history(store: ObjectStore) -> None:
    dataset = things(store)
    manifests = [publish(dataset, number) for number in range(3)]
    tombstones = Tombstones(dataset)
    tombstones.add(1)
    assert dataset.numbers() == [0, 2]
    with pytest.raises(InputError, match="not published"):
        dataset.read(1)
    assert tombstones.numbers() == [1]
    assert tombstones.read(1) == manifests[1]
    assert read_history(dataset) == manifests
    assert dataset.read_part(manifests[1].parts[0]) == b"1", "its parts stay, for whoever has its manifest"


def test_a_removal_that_was_interrupted_is_done_again(store: ObjectStore) -> None:
    dataset = things(store)
    manifest = publish(dataset, 0)
    tombstones = Tombstones(dataset)
    store.put(tombstones.key(0), store.get(dataset.manifest_key(0)))  # killed between the two steps
    assert read_history(dataset) == [manifest], "once, though it is in both places"
    tombstones.add(0)
    assert (dataset.numbers(), tombstones.numbers()) == ([], [0])


def test_two_prunes_can_remove_the_same_version(store: ObjectStore) -> None:
    dataset = things(store)
    manifest = publish(dataset, 0)
    for _ in range(2):
        Tombstones(dataset).add(0)
    assert read_history(dataset) == [manifest]


def test_a_version_that_is_pruned_after_it_was_listed_can_still_be_read(store: ObjectStore) -> None:
    dataset = things(store)
    manifests = [publish(dataset, number) for number in range(2)]
    Tombstones(dataset).add(0)
    assert [read_or_tombstone(dataset, number) for number in range(2)] == manifests
    with pytest.raises(InputError, match="not published"):
        read_or_tombstone(dataset, 2)


def test_reading_all_manifests_leaves_out_one_that_is_pruned_meanwhile(store: ObjectStore) -> None:
    dataset = things(store)
    manifests = [publish(dataset, number) for number in range(3)]
    reading = dataset.newest_first()
    assert next(reading) == manifests[2]
    Tombstones(dataset).add(1)
    assert list(reading) == [manifests[0]]


def test_a_writer_that_slept_until_its_number_had_a_tombstone_cannot_commit(store: ObjectStore) -> None:
    dataset = things(store)
    sleeper = dataset.begin(0)
    sleeper.add_part("rows", "rows", b"late", 1)
    winner = publish(dataset, 0)
    Tombstones(dataset).add(0)
    assert sleeper.commit(manifest_of(sleeper)) == (winner, False)
    assert (dataset.numbers(), read_history(dataset)) == ([], [winner])
    assert store.list(dataset.data_folder(0, sleeper.writer)) == []
