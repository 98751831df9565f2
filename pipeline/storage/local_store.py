"""A store in a folder: a temporary file, fsync, then one atomic rename or link, then fsync of the folder."""

import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InputError, PipelineError, UnavailableError
from pipeline.failpoints import Failpoint, reach
from pipeline.storage.keys import TEMPORARY_PREFIX, Entry, ObjectMissingError, folder_of, validate_key

_NUM_OPENS = 10
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNUSABLE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
    errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
}  # fmt: skip
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalStore:
    """Objects as files below a root folder, which the first write creates. It keeps the contract of ``ObjectStore``.

    Symbolic links below the root are followed if they stay inside it; listings neither show nor follow them.
    """

    def __init__(self, root: Path) -> None:
        self.root = _resolve(root)

    @property
    def uri(self) -> str:
        """The absolute path of the root folder."""
        return str(self.root)

    def get(self, key: str) -> bytes:
        """Reads the file; raises ObjectMissingError if there is none."""
        path = self._path(key)
        with _translate_errors("read", path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectMissingError(f"no object {key!r} in {self.uri}") from None

    def put(self, key: str, data: bytes) -> None:
        """Renames a complete temporary file to the name, which replaces an older object."""
        path = self._path(key)
        with _translate_errors("write", path), _temporary_file(path.parent, data) as temporary:
            temporary.replace(path)
            _fsync_folder(path.parent)

    def create(self, key: str, data: bytes) -> bool:
        """Links a complete temporary file to the name, which the kernel refuses if the name exists."""
        path = self._path(key)
        with _translate_errors("write", path), _temporary_file(path.parent, data) as temporary:
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise InputError(
                    f"the file system of {self.uri} supports no hard links, which safe publishing needs: "
                    "choose a workspace on another one"
                ) from error
            _fsync_folder(path.parent)
        return True

    def list(self, prefix: str) -> list[str]:
        """Walks the folder; temporary files, links and special files are not objects."""
        folder = self._path(folder_of(prefix).rstrip("/")) if prefix.strip("/") else self.root
        with _translate_errors("list", folder):
            try:
                return sorted(path.relative_to(self.root).as_posix() for path in _regular_files(folder))
            except NotADirectoryError:
                if folder == self.root:
                    raise
                return []  # the prefix is the name of an object, not of a folder

    def entries(self, prefix: str) -> Sequence[Entry]:
        """Reads sizes and ages; the time now is that of a file created now, by the file system's clock."""
        found = []
        with _translate_errors("list", self.root):
            now = _clock(self.root)
            for key in self.list(prefix):
                try:
                    status = (self.root / key).stat()
                except FileNotFoundError:
                    continue  # deleted meanwhile
                found.append(Entry(key, status.st_size, max(now - status.st_mtime, 0.0)))
        return found

    def delete_temporaries(self, min_age_s: float) -> int:
        """Deletes old temporary files, and old folders that are empty."""
        with _translate_errors("clean", self.root):
            now = _clock(self.root)
            return _delete_old(self.root, now - min_age_s) if self.root.is_dir() else 0

    def exists(self, key: str) -> bool:
        """Says whether there is a regular file of that name."""
        path = self._path(key)
        with _translate_errors("read", path):
            return path.is_file()

    def delete(self, key: str) -> None:
        """Unlinks the file; its folder stays, because another writer may be about to use it."""
        path = self._path(key)
        with _translate_errors("delete", path):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            _fsync_folder(path.parent)

    def local_path(self, key: str) -> Path:
        """Returns the file's path, whether the file exists or not."""
        return self._path(key)

    def _path(self, key: str) -> Path:
        path = _resolve(self.root / validate_key(key))
        if not path.is_relative_to(self.root):
            raise InputError(f"object key {key!r} leaves {self.uri} through a symbolic link: remove the link")
        return path


def _resolve(path: Path) -> Path:
    # Path.resolve raises RuntimeError on a loop of links; realpath leaves it to the call that opens the file.
    return Path(os.path.realpath(path))


@contextmanager
def _temporary_file(folder: Path, data: bytes) -> Iterator[Path]:
    """Writes a complete, durable file beside its destination; deletes it at the end unless it was renamed."""
    path = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        with _open_new(path) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        reach(Failpoint.FILE_WRITTEN)
        yield path
        reach(Failpoint.FILE_NAMED)
    finally:
        path.unlink(missing_ok=True)


def _open_new(path: Path) -> BinaryIO:
    """Opens a new file; its folder may not exist, or may be deleted as empty before the file is in it."""
    for _ in range(_NUM_OPENS - 1):
        _ensure_folder(path.parent)
        try:
            return path.open("xb")
        except FileNotFoundError:
            continue
    return path.open("xb")


def _ensure_folder(folder: Path) -> None:
    """Creates the folder and its parents, and makes each new entry durable in the folder above it."""
    if folder.is_dir():
        return
    _ensure_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
    _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _regular_files(folder: Path) -> Iterator[Path]:
    """Yields all objects below ``folder``; files that are deleted during the walk are left out."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.startswith(TEMPORARY_PREFIX):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _regular_files(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _clock(folder: Path) -> float:
    """Returns the file system's time in seconds: a file server's clock may differ from this machine's."""
    if not folder.is_dir():
        return 0.0
    with _temporary_file(folder, b"") as file:
        return file.stat().st_mtime


def _delete_old(folder: Path, before: float) -> int:
    """Deletes temporary files and empty folders below ``folder`` that were last changed before that time."""
    num_deleted = 0
    for entry in list(os.scandir(folder)):
        with suppress(FileNotFoundError):
            is_old = entry.stat(follow_symlinks=False).st_mtime <= before
            if entry.is_dir(follow_symlinks=False):
                num_deleted += _delete_old(Path(entry.path), before)
                if is_old:
                    with suppress(OSError):  # not empty
                        Path(entry.path).rmdir()
            elif is_old and entry.name.startswith(TEMPORARY_PREFIX):
                Path(entry.path).unlink()
                num_deleted += 1
    return num_deleted


@contextmanager
def _translate_errors(action: str, path: Path) -> Iterator[None]:
    """Turns the operating system's errors into one sentence that names the path and what to do."""
    try:
        yield
    except OSError as error:
        raise _pipeline_error(action, path, error) from error


def _pipeline_error(action: str, path: Path, error: OSError) -> PipelineError:
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return UnavailableError(
            f"no space left to {action} {path} ({reason}): free some and run the same command again"
        )
    if error.errno in _UNUSABLE:
        return InputError(f"cannot {action} {path} ({reason}): choose a workspace folder that you may write to")
    return UnavailableError(f"cannot {action} {path} ({reason}): check the disk and run the same command again")
