"""Examples from a user's Parquet files: images in the corpus schema, or vectors."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.images import ImageLimits, find_fault
from pipeline.corpus.payloads import IMAGE, VECTOR, Payload, Vector, payload_of
from pipeline.corpus.sources.items import Item, Rejected
from pipeline.errors import InputError

ID_COLUMNS = ("id", "source_id", "example_id")
"""Where a vector's own id is looked for, in this order."""

_Batch = tuple[pa.RecordBatch, Path, int]
"""Some rows, their file, and the number of the first one in it."""


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

    payload: Payload[Any]

    def __init__(self, path: Path, limits: ImageLimits) -> None:
        self.description, self._limits = f"parquet {path}", limits
        found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        self._files = [file for file in found if not file.name.startswith(("_", "."))]
        if not self._files:
            raise InputError(f"{path} holds no *.parquet file: give a Parquet file or a folder of them")
        with _open(self._files[0]) as first:
            names = first.schema_arrow.names
        self.payload = payload_of(next((name for name in _READERS if name in names), VECTOR.name))
        self.num_entries: int | None = sum(self._check(file) for file in self._files)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Yields each row once, by file name, then in the file's order.

        Raises:
            InputError: A file is damaged, or a vector's length differs from those before it.
        """
        _, read = _READERS[self.payload.name]
        return read((batch for file in self._files for batch in self._batches(file)), self._limits)

    def _batches(self, file: Path) -> Iterator[_Batch]:
        """The needed columns of a file."""
        first_row = 0
        with _open(file) as parquet:
            columns = ["label", self.payload.name, *self._ids(parquet.schema_arrow.names)]
            try:
                for rows in parquet.iter_batches(self.payload.batch_rows, columns=columns):
                    yield rows, file, first_row
                    first_row += rows.num_rows
            except (pa.ArrowException, OSError) as error:
                raise InputError(
                    f"{file} cannot be read after row {first_row} ({error}): write or copy it again"
                ) from error

    def _check(self, file: Path) -> int:
        """Refuses columns that are not what is needed; returns the number of rows."""
        with _open(file) as parquet:
            schema, num_rows = parquet.schema_arrow, int(parquet.metadata.num_rows)
        types = {field.name: _value_type(field.type) for field in schema}
        ok = all(name in types and _is_text_or_integer(types[name]) for name in ("label", *self._ids(schema.names)))
        is_content, _ = _READERS[self.payload.name]
        if not (ok and self.payload.name in types and is_content(types[self.payload.name])):
            have = ", ".join(f"{field.name} ({field.type})" for field in schema)
            raise InputError(
                f"{file} has the columns {have}, but needs label (string or integer) and either "
                f"image (struct of bytes and path) or id (string or integer) and vector (list of floats or int8)"
            )
        return num_rows

    def _ids(self, names: list[str]) -> list[str]:
        """The column of ids, where the contents do not hold their paths."""
        return [] if self.payload.holds_path else [_id_column(names)]


def _read_images(batches: Iterator[_Batch], limits: ImageLimits) -> Iterator[Item | Rejected]:
    for rows, file, first_row in batches:
        labels, images = _texts(rows.column("label")), rows.column("image").to_pylist()
        for row, (label, image) in enumerate(zip(labels, images, strict=True), first_row):
            content = image["bytes"] if image else None
            path = (image and image["path"]) or f"{file.name}:{row}"
            if not label:
                yield Rejected(path, "no_label", f"{file.name}, row {row}")
            elif content is None:
                yield Rejected(path, "undecodable", f"{file.name}, row {row} holds no bytes")
            elif fault := find_fault(content, limits):
                yield Rejected(path, fault.reason, fault.detail)
            else:
                yield Item(label, content, path)


def _read_vectors(batches: Iterator[_Batch], limits: ImageLimits) -> Iterator[Item | Rejected]:
    dim: int | None = None
    for rows, file, first_row in batches:
        lengths_N = np.asarray(pc.fill_null(pc.list_value_length(rows.column("vector")).cast(pa.int64()), -1))
        dim = _check_lengths(lengths_N, dim, file, first_row)
        yield from _judge_vectors(rows, lengths_N >= 0, file.name, first_row)


def _check_lengths(lengths_N: npt.NDArray[np.int64], dim: int | None, file: Path, first_row: int) -> int | None:
    """Returns the length that all vectors have; None while none was seen. Where there is no vector, it is -1."""
    present = lengths_N[lengths_N >= 0]
    if dim is None and len(present):
        dim = int(present[0])
    wrong = np.flatnonzero((lengths_N >= 0) & (lengths_N != dim))
    if len(wrong) or dim == 0:
        row = int(wrong[0]) if len(wrong) else 0
        raise InputError(
            f"{file}, row {first_row + row}: the vector has {lengths_N[row]} numbers "
            f"instead of {dim or 'one or more'}: give all vectors one length"
        )
    return dim


def _judge_vectors(
    rows: pa.RecordBatch, present_N: npt.NDArray[np.bool_], file: str, first_row: int
) -> Iterator[Item | Rejected]:
    labels, ids = (_texts(rows.column(name)) for name in ("label", _id_column(rows.schema.names)))
    matrix = _matrix(rows.column("vector").drop_null())
    with np.errstate(over="ignore", invalid="ignore"):
        squared_norms = np.einsum("nd,nd->n", matrix, matrix)
    row_of = np.cumsum(present_N) - 1
    for i, (label, source_id) in enumerate(zip(labels, ids, strict=True)):
        place, name = f"{file}, row {first_row + i}", source_id or f"{file}:{first_row + i}"
        if not label:
            yield Rejected(name, "no_label", place)
        elif source_id is None:
            yield Rejected(name, "no_id", place)
        elif not present_N[i]:
            yield Rejected(name, "no_vector", place)
        elif not np.isfinite(squared_norms[row_of[i]]):
            yield Rejected(name, "non_finite_vector", f"{place}: its norm is NaN or infinite")
        elif squared_norms[row_of[i]] == 0:
            yield Rejected(name, "zero_vector", f"{place}: its norm is zero")
        else:
            yield Item(label, matrix[row_of[i]], source_id)


def _matrix(vectors: pa.Array) -> Vector:
    """The vectors, float32 (N, D); null numbers become NaN."""
    with np.errstate(over="ignore"):  # too large for float32: becomes infinite, and so is rejected
        matrix = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return matrix.reshape(len(vectors), -1) if len(vectors) else np.empty((0, 1), np.float32)


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is not readable as Parquet ({error}): write it again") from error


def _id_column(names: list[str]) -> str:
    return next((name for name in ID_COLUMNS if name in names), ID_COLUMNS[0])


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


_Reader = Callable[[Iterator[_Batch], ImageLimits], Iterator[Item | Rejected]]
_READERS: dict[str, tuple[Callable[[Any], bool], _Reader]] = {
    IMAGE.name: (_is_image, _read_images),
    VECTOR.name: (_is_vector, _read_vectors),
}
"""Of each payload that a user's file may hold: whether a column's type is its, and what reads the rows."""
