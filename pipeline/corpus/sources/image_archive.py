"""The folder of folders inside a .tar, read as a stream."""

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipeline.corpus.images import ImageLimits, size_fault
from pipeline.corpus.payloads import IMAGE
from pipeline.corpus.sources.image_folder import judge_image, name_fault, printable
from pipeline.corpus.sources.items import Item, Rejected
from pipeline.errors import InputError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class ImageArchive:
    """Images in a tar archive, in its order; nothing is extracted to disk, and no link in it is followed.

    Args:
        file: The archive, compressed or not.
        limits: Larger images are rejected.
    """

    payload = IMAGE
    num_entries: int | None = None

    def __init__(self, file: Path, limits: ImageLimits) -> None:
        self._file, self._limits = file, limits
        self.description = f"image archive {file}"

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Yields each member once, as an item or rejected; empty folders come last.

        Raises:
            InputError: The archive is damaged or ends too soon.
        """
        folders = _EmptyFolders()
        try:
            with tarfile.open(self._file, mode="r|*", tarinfo=_StrictTarInfo) as archive:
                while member := archive.next():
                    # tarfile keeps every member: memory would grow with the archive.
                    archive.members = []  # type: ignore[attr-defined]
                    path = PurePosixPath(member.name)
                    folders.see(path, member.isdir())
                    if not member.isdir():
                        yield self._judge(archive, member, path)
        except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise InputError(
                f"{self._file} cannot be read to its end ({error}): copy or download the archive again"
            ) from error
        yield from folders.rejected()

    def _judge(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: PurePosixPath) -> Item | Rejected:
        name = printable(str(path))
        if not member.isreg():
            return Rejected(name, "stray_file", "a link or a device, not a regular file")
        if fault := name_fault(path) or size_fault(member.size, self._limits):
            return Rejected(name, fault.reason, fault.detail)
        content = archive.extractfile(member)
        if content is None:  # a regular member always has content
            raise tarfile.ReadError(f"{name} has no content")
        return judge_image(path, content.read(), self._limits)


class _StrictTarInfo(tarfile.TarInfo):
    """A header that must be whole: ``tarfile`` takes a cut-off archive for a shorter one, in silence."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_StrictTarInfo":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the blocks of zeros that end an archive
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no end-of-archive mark: {error}") from error


class _EmptyFolders:
    """Folders seen so far in which nothing lies; grows with the number of folders only."""

    def __init__(self) -> None:
        self._empty: dict[PurePosixPath, None] = {}
        self._parents: set[PurePosixPath] = set()

    def see(self, path: PurePosixPath, is_folder: bool) -> None:
        if path.parent not in self._parents:
            for parent in path.parents:
                self._parents.add(parent)
                self._empty.pop(parent, None)
        if is_folder and path not in self._parents:
            self._empty[path] = None

    def rejected(self) -> Iterator[Rejected]:
        for path in self._empty:
            yield Rejected(printable(str(path)), "empty_folder", "holds nothing")
