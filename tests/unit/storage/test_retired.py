import pytest

from pipeline.errors import InputError
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.publish import Manifest, Publication
from pipeline.storage.retired import Retired, history, read_even_retired


def publish(publication: Publication[Manifest], number: int) -> Manifest:
    attempt = publication.begin(number)
    attempt.add_part("rows", "rows", str(number).encode(), 1)
    return attempt.publish(Manifest(**attempt.header(), parent=None, seed=0, config_digest=""))[0]


def test_a_retired_number_is_found_by_nobody_and_stays_in_the_history(store: ObjectStore) -> None:
    publication = Publication(store, "things", Manifest)
    manifests = [publish(publication, number) for number in range(3)]
    retired = Retired(publication)
    retired.add(1)
    assert publication.numbers() == [0, 2]
    with pytest.raises(InputError, match="not published"):
        publication.read(1)
    assert retired.numbers() == [1]
    assert retired.read(1) == manifests[1]
    assert history(publication) == manifests
    assert publication.read_part(manifests[1].parts[0]) == b"1", "its parts stay, for whoever has its manifest"


def test_retiring_that_was_interrupted_is_done_again(store: ObjectStore) -> None:
    publication = Publication(store, "things", Manifest)
    manifest = publish(publication, 0)
    retired = Retired(publication)
    store.put(retired.key(0), store.get(publication.manifest_key(0)))  # killed between the two steps
    assert history(publication) == [manifest], "once, though it is in both places"
    retired.add(0)
    assert (publication.numbers(), retired.numbers()) == ([], [0])


def test_of_two_prunes_that_retire_one_number_both_succeed(store: ObjectStore) -> None:
    publication = Publication(store, "things", Manifest)
    manifest = publish(publication, 0)
    for _ in range(2):
        Retired(publication).add(0)
    assert history(publication) == [manifest]


def test_a_number_that_retires_while_it_is_looked_at_can_still_be_read(store: ObjectStore) -> None:
    publication = Publication(store, "things", Manifest)
    manifests = [publish(publication, number) for number in range(2)]
    Retired(publication).add(0)
    assert [read_even_retired(publication, number) for number in range(2)] == manifests
    with pytest.raises(InputError, match="not published"):
        read_even_retired(publication, 2)


def test_a_publisher_that_slept_until_its_number_had_retired_has_lost_it(store: ObjectStore) -> None:
    publication = Publication(store, "things", Manifest)
    sleeper = publication.begin(0)
    sleeper.add_part("rows", "rows", b"late", 1)
    winner = publish(publication, 0)
    Retired(publication).add(0)
    late = Manifest(**sleeper.header(), parent=None, seed=0, config_digest="")
    assert sleeper.publish(late) == (winner, False)
    assert (publication.numbers(), history(publication)) == ([], [winner])
    assert store.list(publication.folder(0, sleeper.writer)) == []
