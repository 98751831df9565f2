"""Writes a generation's parts: each is serialised in memory, checked, and put whole."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import CorruptDataError
from pipeline.storage.publish import Transaction
from pipeline.triplets.schema import NEIGHBOURS, QUARANTINE, TRIPLETS, GenerationManifest

ROWS_PER_GROUP = 1 << 18


class TripletWriter:
    """Cuts a stream of triplet tables, sorted by anchor, into shards.

    Ids are delta-encoded and distances byte-stream-split, which at zstd level 1 halves the bytes of
    Parquet's defaults.
    """

    def __init__(
        self,
        transaction: Transaction[GenerationManifest],
        rows_per_shard: int,
        metadata: Mapping[str, str],
        stem: str = "triplets",
    ) -> None:
        """Begins with an empty shard.

        Args:
            transaction: Where parts go.
            rows_per_shard: Triplets a shard.
            metadata: Provenance that each file carries.
            stem: First part of the shards' names.
        """
        self._transaction, self._rows_per_shard, self._stem = transaction, rows_per_shard, stem
        self._schema = TRIPLETS.with_metadata(dict(metadata))
        self._pending: list[pa.Table] = []
        self._num_pending = 0
        self._num_shards = 0

    def write(self, table: pa.Table) -> None:
        """Takes the next triplets, in the schema TRIPLETS."""
        self._pending.append(table)
        self._num_pending += len(table)
        while self._num_pending >= self._rows_per_shard:
            self._flush(self._rows_per_shard)

    def close(self) -> None:
        """Writes what is left. A generation without a triplet still has one, empty, shard."""
        if self._num_pending or not self._num_shards:
            self._flush(self._num_pending)

    def _flush(self, num_rows: int) -> None:
        pending = pa.concat_tables([self._schema.empty_table(), *self._pending])
        shard, rest = pending.slice(0, num_rows), pending.slice(num_rows)
        self._pending, self._num_pending = [rest] if len(rest) else [], len(rest)
        data = serialise(shard.replace_schema_metadata(self._schema.metadata), TRIPLET_ENCODINGS)
        self._transaction.add_part("triplets", f"{self._stem}-{self._num_shards:05d}.parquet", data, num_rows)
        self._num_shards += 1


_ENCODINGS = {pa.int64(): "DELTA_BINARY_PACKED", pa.float32(): "BYTE_STREAM_SPLIT"}
TRIPLET_ENCODINGS = {field.name: _ENCODINGS[field.type] for field in TRIPLETS}


def add_side_tables(transaction: Transaction[GenerationManifest], quarantine: pa.Table, neighbours: pa.Table) -> None:
    """Puts the quarantine and the neighbours table beside the triplets."""
    for role, table, schema in (("quarantine", quarantine, QUARANTINE), ("neighbours", neighbours, NEIGHBOURS)):
        transaction.add_part(role, f"{role}.parquet", serialise(table.cast(schema), None), len(table))


def parse(data: bytes) -> pa.Table:
    """The table of a Parquet file."""
    return pq.read_table(pa.BufferReader(data))


def serialise(table: pa.Table, encodings: Mapping[str, str] | None) -> bytes:
    """A table as the bytes of a Parquet file, its row count read back from the footer.

    Args:
        table: What to write.
        encodings: Parquet encoding of each column; None for dictionary encoding throughout.

    Raises:
        CorruptDataError: The footer does not say what was written.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=ROWS_PER_GROUP,
        compression="zstd",
        compression_level=1,
        use_dictionary=encodings is None,
        column_encoding=dict(encodings) if encodings else None,
        write_page_checksum=True,
    )
    data = sink.getvalue()
    written = pq.read_metadata(pa.BufferReader(data)).num_rows
    if written != len(table):
        raise CorruptDataError(f"a Parquet part holds {written} rows where {len(table)} were written")
    return bytes(data)
