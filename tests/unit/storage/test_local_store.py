import errno
import os
import resource
from pathlib import Path

import pytest

from pipeline.errors import InputError, PipelineError, UnavailableError
from pipeline.storage.keys import TEMPORARY_PREFIX
from pipeline.storage.local_store import LocalStore, _pipeline_error


def _files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_listings_hide_files_that_are_still_being_written(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b", b"x")
    (tmp_path / "a" / f"{TEMPORARY_PREFIX}123").write_bytes(b"half")
    assert store.list("") == store.list("a") == ["a/b"]


def test_no_temporary_file_stays_after_a_write_whether_it_won_or_not(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b", b"x")
    assert [store.create("a/c", b"x"), store.create("a/c", b"y")] == [True, False]
    assert _files(tmp_path) == ["a/b", "a/c"]


def test_a_write_that_fails_half_way_leaves_the_old_object_and_no_trace(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UnavailableError, match="File too large"):
            store.put("a", b"new" * 1000)
        with pytest.raises(UnavailableError, match="File too large"):
            store.create("b", b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.get("a") == b"old"
    assert _files(tmp_path) == ["a"]


def test_a_link_that_leaves_the_root_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    store = LocalStore(root)
    for key in ("folder/secret", "file"):
        with pytest.raises(InputError, match="symbolic link"):
            store.get(key)
        with pytest.raises(InputError, match="symbolic link"):
            store.put(key, b"overwritten")
    assert store.list("") == []
    assert (outside / "secret").read_bytes() == b"secret"


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    LocalStore(tmp_path / "link").put("a", b"x")
    assert (tmp_path / "real" / "a").read_bytes() == b"x"


def test_a_loop_of_links_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError):
        LocalStore(tmp_path).get("loop")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/motherlode", "/dev/null/workspace", "n" * 300])
def test_a_folder_that_cannot_be_used_is_an_input_error_naming_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"not a folder")
    root = tmp_path / place
    store = LocalStore(root)
    for write in (store.put, store.create):
        with pytest.raises(InputError) as caught:
            write("a/b", b"x")
        assert str(root) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_listing_a_root_that_is_a_file_is_an_error_not_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="Not a directory"):
        LocalStore(tmp_path / "file").list("")


def test_an_object_does_not_take_the_name_of_a_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b", b"x")
    with pytest.raises(InputError, match="Is a directory"):
        store.put("a", b"y")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, UnavailableError),
        (errno.EDQUOT, UnavailableError),
        (errno.EIO, UnavailableError),
        (errno.EROFS, InputError),
        (errno.EACCES, InputError),
        (errno.EPERM, InputError),
    ],
)
def test_errors_of_the_system_are_sorted_into_the_users_and_the_disks(number: int, kind: type[PipelineError]) -> None:
    error = _pipeline_error("write", Path("/data/a"), OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert "/data/a" in str(error)
    assert os.strerror(number) in str(error)
