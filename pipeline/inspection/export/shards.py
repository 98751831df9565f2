"""Writes rows as shards of a bounded size: each to a temporary file, which is put whole."""

from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.inspection.temporary import writing
from pipeline.storage.object_store import ObjectStore

Suffix = Literal["parquet", "csv"]

SHARD_BYTES = 128 * 2**20
"""Size at which a shard is closed."""


class ShardWriter:
    """Writes ``data/train-00000.parquet`` (or ``.csv``) and so on.

    Args:
        store: Where the shards go.
        folder: For the temporary file.
        schema: Of all tables.
        suffix: Format of the files.
        shard_bytes: Size at which a shard is closed.

    Attributes:
        num_shards: Shards put so far.
        num_bytes: Of these shards.
    """

    def __init__(
        self,
        store: ObjectStore,
        folder: Path,
        schema: pa.Schema,
        suffix: Suffix,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self._store, self._schema, self._suffix, self._shard_bytes = store, schema, suffix, shard_bytes
        self._file = folder / f"shard.{suffix}"
        self._writer: pq.ParquetWriter | pa.csv.CSVWriter | None = None
        self.num_shards = self.num_bytes = 0

    def write(self, table: pa.Table) -> None:
        """Adds rows; in Parquet they are a row group.

        Raises:
            UnavailableError: The temporary folder or the store is full.
        """
        with writing(self._file):
            if self._writer is None:
                self._writer = self._open()
            self._writer.write_table(table)
        if self._file.stat().st_size >= self._shard_bytes:
            self.close()

    def close(self) -> None:
        """Puts the rows that are left as the last shard."""
        if self._writer is None:
            return
        with writing(self._file):
            self._writer.close()
        self._writer = None
        data = self._file.read_bytes()
        self._store.put(f"data/train-{self.num_shards:05d}.{self._suffix}", data)
        self.num_shards += 1
        self.num_bytes += len(data)

    def _open(self) -> pq.ParquetWriter | pa.csv.CSVWriter:
        if self._suffix == "csv":
            return pa.csv.CSVWriter(str(self._file), self._schema)
        plain = [field.name for field in self._schema if not pa.types.is_nested(field.type)]
        return pq.ParquetWriter(
            str(self._file), self._schema, compression="zstd", use_dictionary=plain, write_statistics=plain
        )
