"""Images in one folder a label, on disk or inside a tar archive."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipeline.corpus.images import SUFFIXES, Fault, ImageLimits, find_fault, size_fault
from pipeline.corpus.payloads import IMAGE
from pipeline.corpus.sources.items import Item, Rejected


class ImageFolder:
    """A folder of folders: an image's label is the name of the folder that it lies in.

    Entries come sorted by name within each folder. Links to files are followed; links to folders are
    rejected, since they can loop.

    Args:
        root: The folder.
        limits: Larger images are rejected.
    """

    payload = IMAGE
    num_entries: int | None = None

    def __init__(self, root: Path, limits: ImageLimits) -> None:
        self._root, self._limits = root, limits
        self.description = f"image folder {root}"

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Yields each entry under the root once, as an item or rejected."""
        return self._walk(self._root)

    def _walk(self, folder: Path) -> Iterator[Item | Rejected]:
        path = printable(folder.relative_to(self._root).as_posix())
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Rejected(path, "unreadable", str(error))
            return
        if not found and folder != self._root:
            yield Rejected(path, "empty_folder", "holds nothing")
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path))
            else:
                yield self._judge(Path(entry.path))

    def _judge(self, file: Path) -> Item | Rejected:
        path = PurePosixPath(file.relative_to(self._root).as_posix())
        if not file.is_file():
            return Rejected(printable(str(path)), "stray_file", "not a regular file")
        if fault := name_fault(path):
            return Rejected(printable(str(path)), fault.reason, fault.detail)
        try:
            if fault := size_fault(file.stat().st_size, self._limits):
                return Rejected(str(path), fault.reason, fault.detail)
            content = file.read_bytes()
        except OSError as error:
            return Rejected(str(path), "unreadable", str(error))
        return judge_image(path, content, self._limits)


def name_fault(path: PurePosixPath) -> Fault | None:
    """Tells why a name, relative to the source, is not that of an image in a label's folder."""
    if path.name.startswith("._"):
        return Fault("stray_file", "an AppleDouble file: macOS keeps attributes in it")
    if path.suffix.lower() not in SUFFIXES:
        return Fault("stray_file", f"its name does not end in one of {', '.join(sorted(SUFFIXES))}")
    if path.parent.name in ("", ".."):
        return Fault("stray_file", "it lies in no label's folder")
    if printable(str(path)) != str(path):
        return Fault("stray_file", "its name is not UTF-8")
    return None


def judge_image(path: PurePosixPath, content: bytes, limits: ImageLimits) -> Item | Rejected:
    """Turns a well-named file's bytes into an item if they decode."""
    if fault := find_fault(content, limits):
        return Rejected(str(path), fault.reason, fault.detail)
    return Item(path.parent.name, content, str(path))


def printable(name: str) -> str:
    """Escapes the bytes of a file name that are not UTF-8, so that the name can be stored as text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
