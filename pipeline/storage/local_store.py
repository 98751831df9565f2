"""A store in a folder: temporary file, fsync, then one atomic rename or link, then fsync of the folder."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError, PipelineError, UnavailableError
from pipeline.failpoints import Failpoint, reach
from pipeline.storage.keys import TEMPORARY_PREFIX, ObjectMissingError, folder_of, validate_key

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNUSABLE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
    errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
}  # fmt: skip
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalStore:
    """Objects as files below a root folder, which the first write makes. Promises: see ``ObjectStore``.

    Symbolic links below the root are followed if they stay inside; listings neither show nor enter them.
    """

    def __init__(self, root: Path) -> None:
        self.root = _real(root)

    @property
    def uri(self) -> str:
        """The absolute path of the root folder."""
        return str(self.root)

    def get(self, key: str) -> bytes:
        """Reads the file; raises ObjectMissingError if there is none."""
        path = self._path(key)
        with _named_errors("read", path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectMissingError(f"no object {key!r} in {self.uri}") from None

    def put(self, key: str, data: bytes) -> None:
        """Renames a complete temporary file over whatever was there."""
        path = self._path(key)
        with _named_errors("write", path), _temporary_file(path.parent, data) as temporary:
            temporary.replace(path)
            _fsync_folder(path.parent)

    def create(self, key: str, data: bytes) -> bool:
        """Links a complete temporary file to the name, which the kernel refuses if the name is taken."""
        path = self._path(key)
        with _named_errors("write", path), _temporary_file(path.parent, data) as temporary:
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise InputError(
                    f"the file system of {self.uri} makes no hard links, which safe publishing needs: "
                    "choose a workspace on another one"
                ) from error
            _fsync_folder(path.parent)
        return True

    def list(self, prefix: str) -> list[str]:
        """Walks the folder; temporary files, links and what is no regular file are not objects."""
        folder = self._path(folder_of(prefix).rstrip("/")) if prefix.strip("/") else self.root
        with _named_errors("list", folder):
            try:
                return sorted(path.relative_to(self.root).as_posix() for path in _regular_files(folder))
            except NotADirectoryError:
                if folder == self.root:
                    raise
                return []  # the prefix is the name of an object, not of a folder

    def exists(self, key: str) -> bool:
        """Says whether a regular file has the name."""
        path = self._path(key)
        with _named_errors("read", path):
            return path.is_file()

    def delete(self, key: str) -> None:
        """Unlinks the file; its folder stays, because another writer may be about to use it."""
        path = self._path(key)
        with _named_errors("delete", path):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            _fsync_folder(path.parent)

    def local_path(self, key: str) -> Path:
        """The file itself, whether it is there or not."""
        return self._path(key)

    def _path(self, key: str) -> Path:
        path = _real(self.root / validate_key(key))
        if not path.is_relative_to(self.root):
            raise InputError(f"object key {key!r} leaves {self.uri} through a symbolic link: remove the link")
        return path


def _real(path: Path) -> Path:
    # Path.resolve raises RuntimeError on a loop of links; realpath leaves it to the call that opens the file.
    return Path(os.path.realpath(path))


@contextmanager
def _temporary_file(folder: Path, data: bytes) -> Iterator[Path]:
    """A complete, durable file beside its destination; gone at the end unless it was renamed."""
    _ensure_folder(folder)
    path = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        reach(Failpoint.FILE_WRITTEN)
        yield path
        reach(Failpoint.FILE_NAMED)
    finally:
        path.unlink(missing_ok=True)


def _ensure_folder(folder: Path) -> None:
    """Makes the folder and its parents, and makes each new entry durable in the folder above it."""
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
    """All objects below ``folder``; one that vanishes while we walk was deleted, and is none."""
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


@contextmanager
def _named_errors(action: str, path: Path) -> Iterator[None]:
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
