"""The folder of a machine's cached parts: who makes them, how large it may be, and who makes room for whom.

All processes of a machine may share it. Each part is made by one of them while the others wait for it. What somebody
has open stays; of the rest, what was opened longest ago goes first. All this rests on ``flock``, whose locks end with
their process: one on each file for as long as it is mapped or made, and one on the folder while it is looked through.
"""

import errno
import fcntl
import mmap
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rich.filesize import decimal

from pipeline.errors import InputError

_PARTS, _UNFINISHED = "*/part-*.arrow", "*/.part-*"
_POLL_INTERVAL_S = 0.05


@dataclass(frozen=True)
class CacheSize:
    """The parts in a folder, and of how many corpora they are; the bytes count what is being made, too."""

    num_corpora: int
    num_parts: int
    num_bytes: int

    def __str__(self) -> str:
        return f"{self.num_parts:,} parts of {self.num_corpora} corpora, {decimal(self.num_bytes)}"


def cache_size(root: Path) -> CacheSize:
    """Looks through a cache, which may be in use meanwhile, or not be there."""
    parts, unfinished = _entries(root, _PARTS), _entries(root, _UNFINISHED)
    num_bytes = sum(one.num_bytes for one in (*parts, *unfinished))
    return CacheSize(len({one.path.parent for one in parts}), len(parts), num_bytes)


class CacheFolder:
    """A folder of parts with a limit.

    Args:
        root: Holds a folder for each corpus, and nothing else of use.
        max_bytes: What all of it may hold. More than that is deleted when the next part is made.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root, self._max_bytes = root, max_bytes

    def map(self, file: Path) -> mmap.mmap | None:
        """Maps a part, which stays as long as the mapping, or a view of it, is there; None where there is none."""
        try:
            with file.open("rb") as opened:
                fcntl.flock(opened, fcntl.LOCK_SH)  # the mapping duplicates the descriptor, and so keeps the lock
                if os.fstat(opened.fileno()).st_nlink == 0:  # deleted between the two
                    return None
                _note_use(opened)
                return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, ValueError):  # of an empty one
            return None

    @contextmanager
    def sole_maker(self, file: Path) -> Iterator[BinaryIO]:
        """Waits until nobody else makes a part; in the block, this process does, in an unfinished file.

        Raises:
            OSError: The folder cannot be written.
        """
        while (unfinished := self._begin(file)) is None:
            time.sleep(_POLL_INTERVAL_S)
        try:
            with unfinished:
                yield unfinished
        finally:
            Path(unfinished.name).unlink(missing_ok=True)

    def finish(self, unfinished: BinaryIO, file: Path, num_bytes: int, fill: Callable[[BinaryIO], object]) -> mmap.mmap:
        """Makes room for the bytes that ``fill`` will write, has it write them, gives the file its name and maps it.

        Raises:
            InputError: What others have open leaves no room below the limit.
            OSError: The disk is full, and nothing is left to delete; or it fails.
        """
        with self._locked():
            self._reserve(unfinished, num_bytes)
        fill(unfinished)
        unfinished.flush()
        os.fsync(unfinished.fileno())
        Path(unfinished.name).replace(file)
        fcntl.flock(unfinished, fcntl.LOCK_SH)
        _note_use(unfinished)
        return mmap.mmap(unfinished.fileno(), 0, access=mmap.ACCESS_READ)

    def _begin(self, file: Path) -> BinaryIO | None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            for other in file.parent.glob(f".{file.name}-*"):
                if not _delete(other):
                    return None
            unfinished = file.with_name(f".{file.name}-{uuid.uuid4().hex}").open("x+b")
            fcntl.flock(unfinished, fcntl.LOCK_EX)
            return unfinished

    def _reserve(self, unfinished: BinaryIO, num_bytes: int) -> None:
        """Takes room on the disk, and deletes for it what was opened longest ago, as far as must be."""
        entries = sorted((*_entries(self._root, _PARTS), *_entries(self._root, _UNFINISHED)), key=lambda one: one.used)
        total = sum(one.num_bytes for one in entries)
        deleted = (one.num_bytes for one in entries if _delete(one.path))
        while total + num_bytes > self._max_bytes or not _allocated(unfinished, num_bytes):
            freed = next(deleted, None)
            if freed is not None:
                total -= freed
            elif total + num_bytes > self._max_bytes:
                raise InputError(
                    f"{self._root} may hold {decimal(self._max_bytes)} (cluster.cache_gib), and what is in use of it "
                    f"on this machine would be {decimal(total + num_bytes)} with the next part: raise cluster.cache_gib"
                )
            else:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), unfinished.name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True)
class _Entry:
    path: Path
    num_bytes: int
    used: int


def _entries(root: Path, pattern: str) -> list[_Entry]:
    found = []
    for path in root.glob(pattern):
        with suppress(FileNotFoundError):  # deleted meanwhile
            status = path.stat()
            found.append(_Entry(path, status.st_size, status.st_mtime_ns))
    return found


def _note_use(file: BinaryIO) -> None:
    now = time.time_ns()  # finer than the clock that the kernel would take
    os.utime(file.fileno(), ns=(now, now))


def _delete(path: Path) -> bool:
    """Deletes a file, unless somebody has it open; says whether it is gone."""
    try:
        with path.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


def _allocated(file: BinaryIO, num_bytes: int) -> bool:
    """Takes room on the disk before it is needed; says whether there was enough."""
    try:
        os.posix_fallocate(file.fileno(), 0, num_bytes)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.truncate(file.fileno(), 0)
        return False
    return True
