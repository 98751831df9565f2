"""Layouts of exported rows."""

from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa

from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import EXAMPLES, with_features
from pipeline.inspection.export.shards import Suffix
from pipeline.inspection.query.rows import ROLES

Format = Literal["datasets", "sentence-transformers", "csv"]
SUFFIXES: dict[Format, Suffix] = {"datasets": "parquet", "sentence-transformers": "parquet", "csv": "csv"}

ROWS_AT_ONCE = 1000
BYTES_AT_ONCE = 32 * 2**20
"""Of three contents a row: what memory holds, and a row group."""

_IDS = [f"{role}_id" for role in ROLES]
_PATHS = [f"{role}_path" for role in ROLES]
_FACT_TYPES = {"label": pa.string(), "negative_label": pa.string(), "d_ap": pa.float32(), "d_an": pa.float32()}


class Layout:
    """Turns rows of ids, labels, distances and paths into Arrow tables.

    Attributes:
        schema: Of the tables, with the metadata in which Hugging Face ``datasets`` finds features.
        selected: Columns of a row, in order: anchor, positive, negative, as ids, and those that the layout adds.
        has_paths: Whether paths in the source are among them.
        rows_at_once: How many rows a table should have, so that memory holds their contents.
    """

    def __init__(self, corpus: Corpus, name: Format, cache_dir: str | None, cache_gib: float) -> None:
        self._payload = corpus.payload
        self._cache = None if name == "csv" else ExampleCache(corpus, cache_dir, cache_gib)
        self.has_paths = name == "csv" or (name == "datasets" and self._payload.holds_path)
        facts = {} if name == "sentence-transformers" else _FACT_TYPES
        self.selected = [*ROLES, *facts, *(_PATHS if self.has_paths else ())]
        content, *_ = self._payload.fields(corpus.manifest.vector_dim)
        types = dict.fromkeys(ROLES, pa.int64() if name == "csv" else content.type) | facts
        if name == "csv":
            types |= dict.fromkeys(_PATHS, pa.string())
        if name == "datasets":
            types |= dict.fromkeys(_IDS, pa.int64())
        self.schema = with_features([pa.field(key, of) for key, of in types.items()])
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
        if self._cache is not None:
            paths = [columns.get(name, [None] * len(rows)) for name in _PATHS]
            contents = [[self._cache.content(example_id) for example_id in columns[role]] for role in ROLES]
            examples = [self._payload.to_columns(*both)[0] for both in zip(contents, paths, strict=True)]
            columns |= dict(zip(ROLES, examples, strict=True))
        return pa.table([pa.array(columns[field.name], field.type) for field in self.schema], schema=self.schema)
