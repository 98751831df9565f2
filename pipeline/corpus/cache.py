"""Random access to payloads: the corpus as memory-mapped Arrow files on a local disk."""

import os
import stat
import tempfile
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.corpus.items import Payload
from pipeline.corpus.reader import Corpus
from pipeline.errors import CorruptDataError, InputError, UnavailableError

SOURCE_DIGEST = b"motherlode.part_sha256"
"""Key in a cache file's schema metadata: the stored part that the file was made from."""


class ExampleCache:
    """Payloads by example id. A part is written once per machine, when first needed, then shared.

    A file is written under a temporary name and renamed, so that other processes see all of it or nothing;
    one that is cut off, or was made from another part, is written again.

    Args:
        corpus: The pinned corpus.
        cache_dir: A folder on a local disk with room for the corpus; by default one of this user's in the
            system's temporary folder.

    Raises:
        InputError: The default folder belongs to somebody else.
        UnavailableError: The folder cannot be made or written.
    """

    def __init__(self, corpus: Corpus, cache_dir: str | Path | None = None) -> None:
        self._corpus = corpus
        root = default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()
        self.folder = root / corpus.fingerprint[:16]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unavailable(self.folder, error) from error
        self._columns: dict[int, pa.Array] = {}

    def payload(self, example_id: int) -> Payload:
        """Returns the payload of an example.

        Returns:
            The encoded image as bytes, or the vector as a read-only float32 (D,) view of the mapped file.

        Raises:
            IndexError: There is no such example.
            CorruptDataError: The stored part is not the one that the manifest promises.
            UnavailableError: The cache cannot be written.
        """
        part = self._corpus.part_of(example_id)
        if part not in self._columns:
            self._columns[part] = self._open(part)
        value = self._columns[part][example_id - self._corpus.part_ids(part).start]
        if self._corpus.manifest.payload == "image":
            content: bytes = value.as_py()
            return content
        vector: np.ndarray[tuple[int], np.dtype[np.float32]] = value.values.to_numpy(zero_copy_only=True)
        return vector

    def build(self) -> None:
        """Writes every part that is not there yet, instead of at first use."""
        for part in range(self._corpus.num_parts):
            self._columns[part] = self._open(part)

    def _open(self, part: int) -> pa.Array:
        file = self.folder / f"part-{part:05d}.arrow"
        column = self._map(file, part)
        if column is None:
            self._write(file, part)
            column = self._map(file, part)
        if column is None:
            raise CorruptDataError(f"{file} changed after it was written: check the disk of {self.folder}")
        return column

    def _map(self, file: Path, part: int) -> pa.Array | None:
        """Maps a file; None if it is absent, cut off, or not made from this part."""
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(file)))
            if (reader.schema.metadata or {}).get(SOURCE_DIGEST) != self._corpus.part_sha256(part).encode():
                return None
            if reader.num_record_batches != 1:
                return None
            batch = reader.get_batch(0)
        except (OSError, pa.ArrowInvalid):  # no file, or no whole Arrow file
            return None
        return batch.column(0) if batch.num_rows == len(self._corpus.part_ids(part)) else None

    def _write(self, file: Path, part: int) -> None:
        table = self._corpus.read_part(part)
        is_image = self._corpus.manifest.payload == "image"
        column = table.column("image" if is_image else "vector").combine_chunks()
        payloads = column.field("bytes") if is_image else column
        metadata = {SOURCE_DIGEST: self._corpus.part_sha256(part).encode()}
        schema = pa.schema([pa.field("payload", payloads.type)], metadata=metadata)
        temporary = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
        try:
            with temporary.open("xb") as sink:
                with pa.ipc.new_file(sink, schema) as writer:
                    writer.write_batch(pa.record_batch([payloads], schema=schema))
                sink.flush()
                os.fsync(sink.fileno())
            temporary.replace(file)
        except OSError as error:
            raise _unavailable(file, error) from error
        finally:
            temporary.unlink(missing_ok=True)


def default_cache_dir() -> Path:
    """This user's folder in the system's temporary one, closed to others.

    Raises:
        InputError: Somebody else can write to what has that name, and so to what we would train on.
        UnavailableError: It cannot be made.
    """
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
