import pytest

from pipeline.errors import InputError
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.publish import Manifest, Publication
from pipeline.storage.retired import Retired, history


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
