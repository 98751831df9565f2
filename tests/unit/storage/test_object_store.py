"""The contract of every store, how a store is opened, and its probe."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import InputError, UnavailableError
from pipeline.storage.local_store import LocalStore
from pipeline.storage.object_store import STORES, ObjectMissingError, ObjectStore, open_store, probe
from tests.support.jobs import run, succeed
from tests.unit.inspection.report_samples import finished_run


def test_an_object_comes_back_whole_and_the_last_put_wins(store: ObjectStore) -> None:
    for data in (b"", b"first", bytes(range(256)) * 5000):
        store.put("a/b.bin", data)
        assert store.get("a/b.bin") == data


def test_a_missing_object_is_an_input_error(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    for key in ("nothing", "a", "a/b/c"):
        with pytest.raises(ObjectMissingError, match=key) as caught:
            store.get(key)
        assert isinstance(caught.value, InputError)


def test_the_second_create_is_refused_and_changes_nothing(store: ObjectStore) -> None:
    assert store.create("m/1.json", b"first")
    assert not store.create("m/1.json", b"second")
    assert store.get("m/1.json") == b"first"
    store.delete("m/1.json")
    assert store.create("m/1.json", b"third")
    assert store.get("m/1.json") == b"third"


def test_exactly_one_of_many_racing_creates_wins_and_its_bytes_are_whole(store: ObjectStore) -> None:
    num_writers, num_keys = 8, 12
    documents = [bytes([writer]) * 100_000 for writer in range(num_writers)]

    def create_all(writer: int) -> list[bool]:
        return [store.create(f"race/{number}", documents[writer]) for number in range(num_keys)]

    with ThreadPoolExecutor(num_writers) as pool:
        won = list(pool.map(create_all, range(num_writers)))
    for number in range(num_keys):
        winners = [writer for writer in range(num_writers) if won[writer][number]]
        assert len(winners) == 1
        assert store.get(f"race/{number}") == documents[winners[0]]


def test_readers_see_the_old_object_or_the_new_one_and_nothing_between(store: ObjectStore) -> None:
    versions = [bytes([value]) * 300_000 for value in range(2)]
    store.put("hot", versions[0])

    def overwrite() -> None:
        for turn in range(20):
            store.put("hot", versions[turn % 2])

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(overwrite)
        reads = 0
        while not writer.done() or not reads:
            assert store.get("hot") in versions
            reads += 1
        writer.result()


def test_list_gives_the_keys_of_a_folder_at_any_depth_sorted(store: ObjectStore) -> None:
    keys = ["a/1", "a/b/2", "a-b/3", "ab/4", "z", ".hidden/5", "a/ü 6+%.json"]
    for key in keys:
        store.put(key, b"x")
    assert store.list("") == sorted(keys)
    assert store.list("a") == store.list("a/") == ["a/1", "a/b/2", "a/ü 6+%.json"]
    assert store.list("a/b") == ["a/b/2"]
    assert store.list("nothing") == []
    assert store.list("a/1") == []


def test_exists_and_delete_ignore_folders(store: ObjectStore) -> None:
    store.put("a/b", b"x")
    assert store.exists("a/b")
    for key in ("a", "a/b/c", "a/bc", "other"):
        assert not store.exists(key)
    store.delete("a/b")
    assert not store.exists("a/b")
    store.delete("a/b")
    store.delete("never/was")


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/../../outside", "", "a//b"])
def test_every_method_refuses_a_key_outside_the_root(store: ObjectStore, key: str) -> None:
    for call in (store.get, store.exists, store.delete):
        with pytest.raises(InputError, match="object key"):
            call(key)
    for write in (store.put, store.create):
        with pytest.raises(InputError, match="object key"):
            write(key, b"x")


def test_a_store_that_was_used_can_be_pickled_and_used_again(store: ObjectStore) -> None:
    store.put("a", b"x")
    copy: ObjectStore = pickle.loads(pickle.dumps(store))
    assert copy.get("a") == b"x"
    assert copy.uri == store.uri


def test_a_file_uri_names_a_local_folder(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/with%20space").put("a", b"x")
    assert (tmp_path / "with space" / "a").read_bytes() == b"x"


@pytest.mark.parametrize("uri", ["", "gs://bucket/x", "s3://", "s3:///x", "file://host/x", "s3://bucket/../x"])
def test_a_uri_that_names_no_store_is_an_input_error(uri: str) -> None:
    with pytest.raises(InputError):
        open_store(uri)


def test_an_address_that_holds_credentials_is_refused_without_repeating_them() -> None:
    for uri in ("s3://an-id:a-secret@bucket/prefix", "s3://a-secret@", "s3://a-secret@bucket"):
        with pytest.raises(InputError, match="AWS_PROFILE") as refused:
            open_store(uri)
        assert "a-secret" not in str(refused.value) and "an-id" not in str(refused.value)


def test_the_probe_accepts_conditional_creates_and_leaves_nothing(store: ObjectStore) -> None:
    probe(store)
    assert store.list("") == []


class Overwriting(LocalStore):
    """As gateways that ignore If-None-Match."""

    def create(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True


class _OverwritingInSilence(LocalStore):
    def create(self, key: str, data: bytes) -> bool:
        taken = self.exists(key)
        self.put(key, data)
        return not taken


class _AlwaysYes(LocalStore):
    def create(self, key: str, data: bytes) -> bool:
        super().create(key, data)
        return True


class _Losing(LocalStore):
    def create(self, key: str, data: bytes) -> bool:
        return False


@pytest.mark.parametrize("kind", [Overwriting, _OverwritingInSilence, _AlwaysYes, _Losing])
def test_the_probe_refuses_by_name_a_store_whose_create_is_not_conditional(
    kind: type[LocalStore], tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        probe(kind(tmp_path))


class _Shelf(LocalStore):
    """As a remote store: with a scheme, and without files that others may map."""

    @property
    def uri(self) -> str:
        return f"shelf://{self.root}"

    def local_path(self, key: str) -> None:  # type: ignore[override]
        return None


def test_a_new_entry_of_the_table_holds_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of CONTRIBUTING.md, with a store that jobs are given by its scheme."""
    place, target = f"shelf://{tmp_path}/w", f"shelf://{tmp_path}/exported"
    refused = run("prepare", "--workspace", place)
    assert refused.code == 2 and "unknown scheme 'shelf': use a local folder, file:// or s3://" in refused.words
    monkeypatch.setitem(STORES, "shelf", lambda rest: _Shelf(Path(rest)))
    with pytest.raises(InputError, match="file:// or s3:// or shelf://"):
        open_store("gs://bucket")
    finished_run(tmp_path, place)
    at = ("--workspace", place)
    assert succeed("triplets", "sql", "SELECT count(*) AS num FROM triplets", *at).report["rows"] == [[120]]
    assert succeed("triplets", "report", *at).report["report"].startswith(place)
    assert succeed("triplets", "export", "--to", target, *at).report["num_triplets"] == 120
    assert open_store(target).list("")
