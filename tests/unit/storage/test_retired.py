import pytest

from pipeline.errors import InputError
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.publish import Manifest, VersionedDataset
from pipeline.storage.retired import Retired, history, read_even_retired


def publish(dataset: VersionedDataset[Manifest], number: int) -> Manifest:
    transaction = dataset.begin(number)
    transaction.add_part("rows", "rows", str(number).encode(), 1)
    return transaction.commit(Manifest(**transaction.manifest_fields(), parent=None, seed=0, config_digest=""))[0]


def test_a_retired_number_is_found_by_nobody_and_stays_in_the_history(store: ObjectStore) -> None:
    dataset = VersionedDataset(store, "things", Manifest)
    manifests = [publish(dataset, number) for number in range(3)]
    retired = Retired(dataset)
    retired.add(1)
    assert dataset.numbers() == [0, 2]
    with pytest.raises(InputError, match="not published"):
        dataset.read(1)
    assert retired.numbers() == [1]
    assert retired.read(1) == manifests[1]
    assert history(dataset) == manifests
    assert dataset.read_part(manifests[1].parts[0]) == b"1", "its parts stay, for whoever has its manifest"


def test_retiring_that_was_interrupted_is_done_again(store: ObjectStore) -> None:
    dataset = VersionedDataset(store, "things", Manifest)
    manifest = publish(dataset, 0)
    retired = Retired(dataset)
    store.put(retired.key(0), store.get(dataset.manifest_key(0)))  # killed between the two steps
    assert history(dataset) == [manifest], "once, though it is in both places"
    retired.add(0)
    assert (dataset.numbers(), retired.numbers()) == ([], [0])


def test_of_two_prunes_that_retire_one_number_both_succeed(store: ObjectStore) -> None:
    dataset = VersionedDataset(store, "things", Manifest)
    manifest = publish(dataset, 0)
    for _ in range(2):
        Retired(dataset).add(0)
    assert history(dataset) == [manifest]


def test_a_number_that_retires_while_it_is_looked_at_can_still_be_read(store: ObjectStore) -> None:
    dataset = VersionedDataset(store, "things", Manifest)
    manifests = [publish(dataset, number) for number in range(2)]
    Retired(dataset).add(0)
    assert [read_even_retired(dataset, number) for number in range(2)] == manifests
    with pytest.raises(InputError, match="not published"):
        read_even_retired(dataset, 2)


def test_a_publisher_that_slept_until_its_number_had_retired_has_lost_it(store: ObjectStore) -> None:
    dataset = VersionedDataset(store, "things", Manifest)
    sleeper = dataset.begin(0)
    sleeper.add_part("rows", "rows", b"late", 1)
    winner = publish(dataset, 0)
    Retired(dataset).add(0)
    late = Manifest(**sleeper.manifest_fields(), parent=None, seed=0, config_digest="")
    assert sleeper.commit(late) == (winner, False)
    assert (dataset.numbers(), history(dataset)) == ([], [winner])
    assert store.list(dataset.data_folder(0, sleeper.writer)) == []
