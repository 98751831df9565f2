"""Layouts of exported rows."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import EXAMPLES, IMAGE_TYPE
from pipeline.inspection.export.shards import Suffix
from pipeline.inspection.query.rows import ROLES

Format = Literal["datasets", "sentence-transformers", "csv"]
SUFFIXES: dict[Format, Suffix] = {"datasets": "parquet", "sentence-transformers": "parquet", "csv": "csv"}

ROWS_AT_ONCE = 1000
BYTES_AT_ONCE = 32 * 2**20
"""Of the payloads in memory, and in a row group."""

_IDS = [f"{role}_id" for role in ROLES]
_PATHS = [f"{role}_path" for role in ROLES]
_FACT_TYPES = {"label": pa.string(), "negative_label": pa.string(), "d_ap": pa.float32(), "d_an": pa.float32()}


class Layout:
    """Turns rows of ids, labels, distances and paths into Arrow tables.

    Args:
        corpus: Of the ids.
        name: Of the layout.
        cache_dir: Local folder for copies of the corpus.
        cache_gib: Size of the cache.

    Attributes:
        schema: Of the tables, with the metadata in which Hugging Face ``datasets`` finds features.
        selected: Columns of a row, in order: anchor, positive, negative, as ids, and those that the layout adds.
        has_paths: Whether paths in the source are among them.
        rows_at_once: How many rows a table should have, so that their payloads fit in memory.
    """

    def __init__(self, corpus: Corpus, name: Format, cache_dir: str | None, cache_gib: float) -> None:
        self._corpus, self._is_image = corpus, corpus.manifest.payload == "image"
        self._payloads = None if name == "csv" else ExampleCache(corpus, cache_dir, cache_gib)
        self.has_paths = name == "csv" or (name == "datasets" and self._is_image)
        facts = {} if name == "sentence-transformers" else _FACT_TYPES
        self.selected = [*ROLES, *facts, *(_PATHS if self.has_paths else ())]
        payload = IMAGE_TYPE if self._is_image else pa.list_(pa.float32(), corpus.manifest.vector_dim)
        example = pa.int64() if name == "csv" else payload
        types = dict.fromkeys(ROLES, example) | facts
        if name == "csv":
            types |= dict.fromkeys(_PATHS, pa.string())
        if name == "datasets":
            types |= dict.fromkeys(_IDS, pa.int64())
        features = {column: _feature(arrow_type) for column, arrow_type in types.items()}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        self.schema = pa.schema(list(types.items()), metadata=metadata)
        num_bytes = sum(part.num_bytes for part in corpus.manifest.parts_of(EXAMPLES))
        self.rows_at_once = min(ROWS_AT_ONCE, max(1, BYTES_AT_ONCE * corpus.num_examples // (len(ROLES) * num_bytes)))

    def table(self, rows: Sequence[Sequence[Any]]) -> pa.Table:
        """Rows of the ``selected`` columns as a table of the ``schema``.

        Raises:
            CorruptDataError: A part of the corpus is not what was published.
            UnavailableError: The cache cannot be written.
        """
        columns: dict[str, Any] = dict(zip(self.selected, zip(*rows, strict=True), strict=True))
        columns |= {key: columns[role] for key, role in zip(_IDS, ROLES, strict=True)}
        if self._payloads is not None:
            paths = [columns.get(name, [None] * len(rows)) for name in _PATHS]
            examples = [self._examples(columns[role], of_role) for role, of_role in zip(ROLES, paths, strict=True)]
            columns |= dict(zip(ROLES, examples, strict=True))
        return pa.table([pa.array(columns[field.name], field.type) for field in self.schema], schema=self.schema)

    def _examples(self, example_ids: Sequence[int], paths: Sequence[str | None]) -> pa.Array:
        assert self._payloads is not None
        payloads = [self._payloads.payload(example_id) for example_id in example_ids]
        if self._is_image:
            columns = [pa.array(payloads, pa.binary()), pa.array(paths, pa.string())]
            return pa.StructArray.from_arrays(columns, fields=list(IMAGE_TYPE))
        return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(payloads)), self._corpus.manifest.vector_dim)


def _feature(arrow_type: pa.DataType) -> dict[str, Any]:
    if arrow_type == IMAGE_TYPE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(arrow_type):
        return {"feature": _feature(arrow_type.value_type), "length": arrow_type.list_size, "_type": "Sequence"}
    return {"dtype": {"float": "float32"}.get(str(arrow_type), str(arrow_type)), "_type": "Value"}
