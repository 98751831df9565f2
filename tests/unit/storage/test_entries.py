import os
import time
from pathlib import Path

from pipeline.storage.object_store import ObjectStore, open_store


def age(path: Path, age_s: float) -> None:
    """Makes a file or folder so much older."""
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))


def test_entries_are_the_listing_with_sizes_and_ages_that_grow(store: ObjectStore) -> None:
    store.put("a/b", b"four")
    store.put("a/c/d", b"")
    store.put("e", b"elsewhere")
    before = store.entries("a")
    assert [entry.key for entry in before] == store.list("a") == ["a/b", "a/c/d"]
    assert [entry.num_bytes for entry in before] == [4, 0]
    assert all(0.0 <= entry.age_s < 60.0 for entry in before)
    time.sleep(2.1)  # S3 counts whole seconds
    assert all(later.age_s > entry.age_s for later, entry in zip(store.entries("a"), before, strict=True))


def test_an_empty_store_has_no_entries(store: ObjectStore) -> None:
    assert list(store.entries("")) == []


def test_ages_are_by_the_file_systems_clock(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("old", b"")
    age(tmp_path / "old", 1000.0)
    (entry,) = store.entries("")
    assert 1000.0 <= entry.age_s < 1060.0


def test_temporary_files_of_killed_writers_are_deleted_once_they_are_old(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("a/object", b"kept")
    for name in ("b", "new"):
        (tmp_path / name).mkdir()
    for name in ("a/.tmp-old", "b/.tmp-old", "a/.tmp-new"):
        (tmp_path / name).write_bytes(b"half")
    for name in ("a/.tmp-old", "b/.tmp-old", "b", "a"):
        age(tmp_path / name, 1000.0)
    assert store.delete_temporaries(500.0) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".tmp-new", "a", "new", "object"]
    assert store.get("a/object") == b"kept"


def test_a_store_without_temporary_files_deletes_nothing(store: ObjectStore) -> None:
    store.put("a", b"whole")
    assert store.delete_temporaries(0.0) == 0
    assert store.list("") == ["a"]
