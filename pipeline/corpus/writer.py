"""Writes the parts of a corpus from a stream, holding one part in memory at a time."""

import hashlib
from array import array
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.payloads import Payload
from pipeline.corpus.schema import (
    EXAMPLES,
    LABELS,
    LABELS_SCHEMA,
    QUARANTINE,
    QUARANTINE_SCHEMA,
    CorpusManifest,
    examples_schema,
    to_parquet,
)
from pipeline.corpus.sources.items import Item, Rejected
from pipeline.storage.publish import Transaction

MAX_PART_BYTES = 64 * 2**20
"""A part of large images is closed at this size, as memory holds a part several times."""
QUARANTINE_ROWS_PER_PART = 100_000


class Fingerprint:
    """Streaming SHA-256 over (label, content) in order, each led by its length; part size does not matter."""

    def __init__(self, payload: Payload[Any]) -> None:
        self._hash = hashlib.sha256(f"motherlode corpus 1 {payload.name}\n".encode())

    def add(self, label: str, content: bytes) -> None:
        """Takes in the next example, its content as the payload's ``to_bytes`` gives it."""
        name = label.encode()
        for field in (name, content):
            self._hash.update(len(field).to_bytes(8, "little"))
            self._hash.update(field)

    def hexdigest(self) -> str:
        """The fingerprint of all examples so far."""
        return self._hash.hexdigest()


class CorpusWriter:
    """Cuts a stream of items into parts, large ones at MAX_PART_BYTES; keeps what the manifest will say about them.

    Attributes:
        payload: What every item holds.
        num_examples: Items added so far.
        label_counts: Examples of each label, by order of first appearance.
        quarantined: Rejected entries by reason.
        first_rejected: An example of what was rejected, for a message.
        vector_dim: Length of the vectors; None for images, and before the first item.
    """

    def __init__(self, transaction: Transaction[CorpusManifest], payload: Payload[Any], examples_per_part: int) -> None:
        self._transaction, self.payload, self._examples_per_part = transaction, payload, examples_per_part
        self._fingerprint = Fingerprint(payload)
        self._items: list[Item] = []
        self._item_bytes = 0
        self._num_parts = 0
        self._codes = array("i")
        self._code_of: dict[str, int] = {}
        self._rejected: list[Rejected] = []
        self._num_quarantine_parts = 0
        self.num_examples = 0
        self.label_counts: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.first_rejected: Rejected | None = None
        self.vector_dim: int | None = None

    @property
    def fingerprint(self) -> str:
        """Of all examples so far."""
        return self._fingerprint.hexdigest()

    def add(self, item: Item) -> None:
        """Takes the next example; its id is the number of those before it."""
        content = self.payload.to_bytes(item.content)
        self.vector_dim = self.payload.vector_dim(item.content)
        self._fingerprint.add(item.label, content)
        self._codes.append(self._code_of.setdefault(item.label, len(self._code_of)))
        self.label_counts[item.label] += 1
        self._items.append(item)
        self._item_bytes += len(content)
        self.num_examples += 1
        if len(self._items) >= self._examples_per_part or self._item_bytes >= MAX_PART_BYTES:
            self.end_part()

    def end_part(self) -> None:
        """Writes the part at hand, if it has an example; the next example begins another."""
        if not self._items:
            return
        first_id = self.num_examples - len(self._items)
        ids = pa.array(np.arange(first_id, self.num_examples, dtype=np.int64))
        labels = pa.array([item.label for item in self._items], pa.string())
        contents, paths = [item.content for item in self._items], [item.path for item in self._items]
        columns = [ids, labels, *self.payload.to_columns(contents, paths)]
        table = pa.Table.from_arrays(columns, schema=examples_schema(self.payload, self.vector_dim))
        self._add_part(EXAMPLES, f"examples-{self._num_parts:05d}.parquet", table)
        self._num_parts += 1
        self._items, self._item_bytes = [], 0

    def reject(self, rejected: Rejected) -> None:
        """Takes the next entry that is no example."""
        self.first_rejected = self.first_rejected or rejected
        self.quarantined[rejected.reason] += 1
        self._rejected.append(rejected)
        if len(self._rejected) >= QUARANTINE_ROWS_PER_PART:
            self._flush_quarantine()

    def finish(self) -> None:
        """Writes what is left, and the labels; the quarantine is written even where it is empty."""
        self.end_part()
        if self._rejected or not self._num_quarantine_parts:
            self._flush_quarantine()
        codes = pa.array(np.frombuffer(self._codes, np.int32), pa.int32())
        labels = pa.DictionaryArray.from_arrays(codes, pa.array(list(self._code_of), pa.string()))
        ids = pa.array(np.arange(self.num_examples, dtype=np.int64))
        self._add_part(LABELS, "_labels.parquet", pa.Table.from_arrays([ids, labels], schema=LABELS_SCHEMA))

    def _flush_quarantine(self) -> None:
        rows = [{"path": r.path, "reason": r.reason, "detail": r.detail} for r in self._rejected]
        name = f"_quarantine-{self._num_quarantine_parts:05d}.parquet"
        self._add_part(QUARANTINE, name, pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA))
        self._num_quarantine_parts += 1
        self._rejected = []

    def _add_part(self, role: str, name: str, table: pa.Table) -> None:
        self._transaction.add_part(role, name, to_parquet(table), table.num_rows)
