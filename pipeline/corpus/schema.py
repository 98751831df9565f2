"""The corpus as it is stored: Arrow schemas, Parquet bytes, and the manifest."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import field_validator

from pipeline.corpus.payloads import IMAGE_TYPE, PAYLOADS, Payload, payload_of
from pipeline.errors import CorruptDataError
from pipeline.storage.publish import Manifest, VersionedDataset
from pipeline.storage.workspace import Workspace

EXAMPLES, LABELS, QUARANTINE = "examples", "labels", "quarantine"
"""Roles of parts. File names of the last two start with "_", which readers of Parquet folders skip."""

LABELS_SCHEMA = pa.schema([("example_id", pa.int64()), ("label", pa.dictionary(pa.int32(), pa.string()))])
QUARANTINE_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


class CorpusManifest(Manifest):
    """A published corpus.

    Attributes:
        fingerprint: SHA-256 over labels and contents in order, however they are cut into parts.
        num_examples: Examples; their ids are 0 to num_examples - 1.
        num_labels: Different labels.
        payload: Name of what an example holds, one of PAYLOADS.
        vector_dim: Length of the vectors; None for images.
        test_fraction: Expected share of the labels that is kept for evaluation.
        test_labels: The labels that are kept, where they were listed; None: drawn by test_fraction.
        source: Kind and place of the source, for a person.
        source_key: Digest of the CorpusConfig: the same key, the same request.
        num_relabelled: Labels that were changed since the source was read, summed over the corpora since then; their
            example ids mean the same all along. 0: as the source has them.
        quarantined: Entries that are no examples, counted by reason.
    """

    fingerprint: str
    num_examples: int
    num_labels: int
    payload: str
    vector_dim: int | None
    test_fraction: float
    test_labels: tuple[str, ...] | None = None
    source: str
    source_key: str
    num_relabelled: int = 0
    quarantined: dict[str, int]

    _known_payload = field_validator("payload")(lambda name: payload_of(name).name)


def corpora(workspace: Workspace) -> VersionedDataset[CorpusManifest]:
    """The corpora of a workspace."""
    return VersionedDataset(workspace.store, workspace.corpus_prefix, CorpusManifest)


def examples_schema(payload: Payload[Any], vector_dim: int | None) -> pa.Schema:
    """The schema of an examples part; ``vector_dim`` as in the manifest."""
    fields = [pa.field("example_id", pa.int64()), pa.field("label", pa.string())]
    return with_features(fields + payload.fields(vector_dim))


def with_features(fields: Sequence[pa.Field]) -> pa.Schema:
    """A schema with the metadata in which Hugging Face ``datasets`` finds features."""
    features = {field.name: _feature(field.type) for field in fields}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _feature(of: pa.DataType) -> dict[str, Any]:
    if of == IMAGE_TYPE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(of):
        return {"feature": _feature(of.value_type), "length": of.list_size, "_type": "Sequence"}
    return {"dtype": {"float": "float32"}.get(str(of), str(of)), "_type": "Value"}


def to_parquet(table: pa.Table) -> bytes:
    """Serialises a part in memory and checks the row count that its footer promises.

    Raises:
        CorruptDataError: The footer does not say what was written.
    """
    sink = pa.BufferOutputStream()
    # Statistics and dictionaries of contents cost space and answer no question; zstd leaves JPEG bytes alone.
    plain = [name for name in table.column_names if name not in PAYLOADS]
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=plain, write_statistics=plain)
    data: bytes = sink.getvalue().to_pybytes()
    num_rows = pq.read_metadata(pa.BufferReader(data)).num_rows
    if num_rows != table.num_rows:
        raise CorruptDataError(
            f"a part serialised to {num_rows} rows instead of {table.num_rows}: check this machine's memory"
        )
    return data


def from_parquet(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Reads the checked bytes of a part, or only some columns of it; ``image.path`` is a field of a struct."""
    return pq.read_table(pa.BufferReader(data), columns=columns)
