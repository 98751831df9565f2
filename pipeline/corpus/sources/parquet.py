"""Examples from a user's Parquet files: images in the corpus schema, or vectors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.images import ImageLimits, find_fault
from pipeline.corpus.items import Item, PayloadKind, Rejected, Vector
from pipeline.errors import InputError

IMAGE_BATCH_ROWS = 64
VECTOR_BATCH_ROWS = 8192
ID_COLUMNS = ("id", "source_id", "example_id")
"""Where a vector's own id is looked for, in this order."""


class ParquetSource:
    """One Parquet file, or the ``*.parquet`` files of a folder in the order of their names.

    Columns: ``label`` (string or integer) and either ``image`` (struct of bytes and path) or ``vector`` (list
    of floats, or of int8) with ``id`` (string or integer). Others are ignored.

    Args:
        path: The file or folder; names that start with "_" or "." are skipped, as Parquet readers do.
        limits: Larger images are rejected.

    Raises:
        InputError: There is no file, or its columns are not what is needed.
    """

    payload: PayloadKind

    def __init__(self, path: Path, limits: ImageLimits) -> None:
        self._path, self._limits = path, limits
        found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        self._files = [file for file in found if not file.name.startswith(("_", "."))]
        if not self._files:
            raise InputError(f"{path} holds no *.parquet file: give a Parquet file or a folder of them")
        with _open(self._files[0]) as first:
            self.payload = "image" if "image" in first.schema_arrow.names else "vector"
        self.num_entries: int | None = sum(self._check(file) for file in self._files)

    @property
    def description(self) -> str:
        """Kind and place."""
        return f"parquet {self._path}"

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Yields each row once, by file name, then in the file's order.

        Raises:
            InputError: A file is damaged, or a vector's length differs from those before it.
        """
        dim: int | None = None
        for file in self._files:
            for batch, first_row in self._batches(file):
                if self.payload == "image":
                    yield from self._images(batch, file.name, first_row)
                else:
                    vectors = _Vectors(batch, file, first_row)
                    dim = vectors.check_length(dim)
                    yield from vectors.items()

    def _batches(self, file: Path) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The needed columns of a file: a batch and the row at which it starts."""
        rows = IMAGE_BATCH_ROWS if self.payload == "image" else VECTOR_BATCH_ROWS
        first_row = 0
        with _open(file) as parquet:
            ids = [_id_column(parquet.schema_arrow)] if self.payload == "vector" else []
            try:
                for batch in parquet.iter_batches(rows, columns=["label", self.payload, *ids]):
                    yield batch, first_row
                    first_row += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise InputError(
                    f"{file} cannot be read after row {first_row} ({error}): write or copy it again"
                ) from error

    def _images(self, batch: pa.RecordBatch, file: str, first_row: int) -> Iterator[Item | Rejected]:
        labels, images = _texts(batch.column("label")), batch.column("image").to_pylist()
        for row, (label, image) in enumerate(zip(labels, images, strict=True), first_row):
            payload = image["bytes"] if image else None
            path = (image and image["path"]) or f"{file}:{row}"
            if not label:
                yield Rejected(path, "no_label", f"{file}, row {row}")
            elif payload is None:
                yield Rejected(path, "undecodable", f"{file}, row {row} holds no bytes")
            elif fault := find_fault(payload, self._limits):
                yield Rejected(path, fault.reason, fault.detail)
            else:
                yield Item(label, payload, path)

    def _check(self, file: Path) -> int:
        """Refuses columns that are not what is needed; returns the number of rows."""
        with _open(file) as parquet:
            schema, num_rows = parquet.schema_arrow, int(parquet.metadata.num_rows)
        types = {field.name: _value_type(field.type) for field in schema}
        ok = "label" in types and _is_text_or_integer(types["label"])
        if self.payload == "image":
            ok = ok and "image" in types and _is_image(types["image"])
        else:
            ids = [name for name in ID_COLUMNS if name in types]
            ok = ok and bool(ids) and _is_text_or_integer(types[ids[0]])
            ok = ok and "vector" in types and _is_vector(types["vector"])
        if not ok:
            have = ", ".join(f"{field.name} ({field.type})" for field in schema)
            raise InputError(
                f"{file} has the columns {have}, but needs label (string or integer) and either "
                f"image (struct of bytes and path) or id (string or integer) and vector (list of floats or int8)"
            )
        return num_rows


class _Vectors:
    """The vectors of one record batch, as one matrix."""

    def __init__(self, batch: pa.RecordBatch, file: Path, first_row: int) -> None:
        self._batch, self._file, self._first_row = batch, file, first_row
        self._lengths: npt.NDArray[np.int64] = np.asarray(
            pc.fill_null(pc.list_value_length(batch.column("vector")).cast(pa.int64()), -1)
        )

    def check_length(self, dim: int | None) -> int | None:
        """Returns the length that all vectors have; None while none was seen."""
        present = self._lengths[self._lengths >= 0]
        if dim is None and len(present):
            dim = int(present[0])
        wrong = np.flatnonzero((self._lengths >= 0) & (self._lengths != dim))
        if len(wrong) or dim == 0:
            row = int(wrong[0]) if len(wrong) else 0
            raise InputError(
                f"{self._file}, row {self._first_row + row}: the vector has {self._lengths[row]} numbers "
                f"instead of {dim or 'one or more'}: give all vectors one length"
            )
        return dim

    def items(self) -> Iterator[Item | Rejected]:
        labels, ids = (_texts(self._batch.column(name)) for name in ("label", _id_column(self._batch.schema)))
        present = self._lengths >= 0
        matrix = self._matrix(int(present.sum()))
        with np.errstate(over="ignore", invalid="ignore"):
            squared_norms = np.einsum("nd,nd->n", matrix, matrix)
        row_of = np.cumsum(present) - 1
        for i, (label, source_id) in enumerate(zip(labels, ids, strict=True)):
            place = f"{self._file.name}, row {self._first_row + i}"
            name = source_id or f"{self._file.name}:{self._first_row + i}"
            if not label:
                yield Rejected(name, "no_label", place)
            elif source_id is None:
                yield Rejected(name, "no_id", place)
            elif not present[i]:
                yield Rejected(name, "no_vector", place)
            elif not np.isfinite(squared_norms[row_of[i]]):
                yield Rejected(name, "non_finite_vector", f"{place}: its norm is NaN or infinite")
            elif squared_norms[row_of[i]] == 0:
                yield Rejected(name, "zero_vector", f"{place}: its norm is zero")
            else:
                yield Item(label, matrix[row_of[i]], source_id)

    def _matrix(self, num_present: int) -> Vector:
        """The vectors that are present, float32 (num_present, D); null numbers become NaN."""
        numbers = self._batch.column("vector").drop_null().flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # too large for float32: becomes infinite, and so is rejected
            matrix = numbers.astype(np.float32)
        return matrix.reshape(num_present, -1) if num_present else np.empty((0, 1), np.float32)


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is not readable as Parquet ({error}): write it again") from error


def _id_column(schema: pa.Schema) -> str:
    return next(name for name in ID_COLUMNS if name in schema.names)


def _texts(column: pa.Array) -> list[str | None]:
    texts: list[str | None] = column.cast(_value_type(column.type)).cast(pa.string()).to_pylist()
    return texts


def _value_type(kind: Any) -> Any:  # noqa: ANN401  (pyarrow has no types)
    """Looks through dictionary encoding, as pandas writes categories."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text_or_integer(kind: Any) -> bool:  # noqa: ANN401
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(is_text or pa.types.is_integer(kind))


def _is_image(kind: Any) -> bool:  # noqa: ANN401
    fields = [field.name for field in kind] if pa.types.is_struct(kind) else []
    return "bytes" in fields and "path" in fields


def _is_vector(kind: Any) -> bool:  # noqa: ANN401
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    # int8: 128-byte embeddings, as jobs.export writes them; what scaled them is of no account, lengths are made one.
    return bool(is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_int8(kind.value_type)))
