"""Random access to examples: the corpus as memory-mapped Arrow files on a local disk."""

import mmap
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.config import ClusterConfig, TransformConfig
from pipeline.config.run import DEFAULT_CACHE_GIB
from pipeline.corpus.cache_folder import CacheFolder
from pipeline.corpus.payloads import Content
from pipeline.corpus.reader import Corpus
from pipeline.errors import CorruptDataError, InputError, UnavailableError

SOURCE_DIGEST = b"motherlode.part_sha256"
"""Key in a cache file's schema metadata: the stored part that the file was made from."""


class ExampleCache:
    """Contents by example id. A part is fetched once per machine, when first needed, then shared by its processes.

    What this object has opened stays as long as it lives. Older parts, of this corpus and others, make room for new
    ones; see ``CacheFolder``. A file that is cut off, or was made from another part, is made again.

    Args:
        corpus: The pinned corpus.
        cache_dir: A folder on a local disk; by default one of this user's in the system's temporary folder.
        cache_gib: GiB that the folder may hold, of all corpora: at least what is in use at a time.

    Raises:
        InputError: The default folder belongs to somebody else.
        UnavailableError: The folder cannot be made or written.
    """

    def __init__(
        self, corpus: Corpus, cache_dir: str | Path | None = None, cache_gib: float = DEFAULT_CACHE_GIB
    ) -> None:
        self._corpus = corpus
        root = cache_root(cache_dir)
        self.folder = root / corpus.fingerprint[:16]
        self._files = CacheFolder(root, int(cache_gib * 2**30))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unavailable(self.folder, error) from error
        self._columns: dict[int, pa.Array] = {}

    @classmethod
    def of(cls, corpus: Corpus, cluster: ClusterConfig) -> "ExampleCache":
        """The cache that a config asks for."""
        return cls(corpus, cluster.cache_dir, cluster.cache_gib)

    def loader(
        self, transform: TransformConfig, alter: Callable[[Image.Image, int], Image.Image] | None = None
    ) -> Callable[[int], npt.NDArray[np.float32]]:
        """What loads an example, given its id, as the encoder's input; ``alter`` changes its picture, given its id."""
        to_input = self._corpus.payload.to_input(transform)
        if alter is None:
            return lambda example_id: to_input(self.content(example_id))
        return lambda example_id: to_input(self.content(example_id), lambda image: alter(image, example_id))

    def content(self, example_id: int) -> Content:
        """The content of an example: an encoded image, or a vector, as a read-only view of the mapped file.

        Raises:
            IndexError: There is no such example.
            CorruptDataError: The stored part is not the one that the manifest promises.
            InputError: The folder's limit is too small for what is in use.
            UnavailableError: The cache cannot be written, or the disk is full.
        """
        part = self._corpus.part_of(example_id)
        if part not in self._columns:
            self._columns[part] = self._open(part)
        row = example_id - self._corpus.part_ids(part).start
        content: Content = self._corpus.payload.from_scalar(self._columns[part][row])
        return content

    def build(self) -> None:
        """Fetches every part that is not there yet, instead of at first use."""
        for part in range(self._corpus.num_parts):
            self._columns[part] = self._open(part)

    def _open(self, part: int) -> pa.Array:
        file = self.folder / f"part-{part:05d}.arrow"
        try:
            column = self._column(self._files.map(file), part)
            if column is None:
                with self._files.sole_maker(file) as unfinished:
                    column = self._column(self._files.map(file), part)  # somebody may have made it meanwhile
                    if column is None:
                        column = self._column(self._make(unfinished, file, part), part)
        except OSError as error:
            raise _unavailable(file, error) from error
        if column is None:
            raise CorruptDataError(f"{file} changed after it was written: check the disk of {self.folder}")
        return column

    def _column(self, mapped: mmap.mmap | None, part: int) -> pa.Array | None:
        """The contents in a mapped file; None if it is absent, cut off, or not made from this part."""
        if mapped is None:
            return None
        try:
            reader = pa.ipc.open_file(pa.py_buffer(mapped))
            if (reader.schema.metadata or {}).get(SOURCE_DIGEST) != self._corpus.part_sha256(part).encode():
                return None
            if reader.num_record_batches != 1:
                return None
            batch = reader.get_batch(0)
        except (OSError, pa.ArrowInvalid):  # no whole Arrow file
            return None
        return batch.column(0) if batch.num_rows == len(self._corpus.part_ids(part)) else None

    def _make(self, unfinished: BinaryIO, file: Path, part: int) -> mmap.mmap:
        column = self._corpus.payload.column(self._corpus.read_part(part))
        metadata = {SOURCE_DIGEST: self._corpus.part_sha256(part).encode()}
        schema = pa.schema([pa.field("payload", column.type)], metadata=metadata)

        def write(sink: BinaryIO | pa.MockOutputStream) -> None:
            with pa.ipc.new_file(sink, schema) as writer:
                writer.write_batch(pa.record_batch([column], schema=schema))

        measured = pa.MockOutputStream()
        write(measured)
        return self._files.finish(unfinished, file, measured.size(), write)


def cache_root(cache_dir: str | Path | None) -> Path:
    """The folder that the config means: by default this user's in the system's temporary one, closed to others.

    Raises:
        InputError: Somebody else can write to what has the default's name, and so to what we would train on.
        UnavailableError: The default cannot be made.
    """
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    folder = Path(tempfile.gettempdir()) / f"motherlode-cache-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _unavailable(folder, error) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InputError(f"{folder} is not a folder of this user alone: remove it or set cluster.cache_dir")
    return folder


def _unavailable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"the cache {path} cannot be written ({error.strerror or error}): make room or set cluster.cache_dir"
    )
