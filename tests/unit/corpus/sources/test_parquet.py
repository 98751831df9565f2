from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.payloads import IMAGE
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.errors import InputError
from tests.unit.corpus.samples import LIMITS, png, reasons, split, write_vectors

VECTORS = [[1.0, 0.0, 0.5], [0.0, 1.0, 0.25], [0.5, 0.5, 0.5]]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.list_(pa.float16()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 3),
        pa.list_(pa.float64(), 3),
    ],
    ids=str,
)
def test_vectors_of_every_float_list_become_float32(tmp_path: Path, kind: Any) -> None:  # noqa: ANN401
    values = [[np.float16(x) for x in row] for row in VECTORS] if kind.value_type == pa.float16() else VECTORS
    file = write_vectors(tmp_path / "v.parquet", pa.array(values, kind), ["a", "a", "b"])
    items, rejected = split(ParquetSource(file, LIMITS))
    assert [item.label for item in items] == ["a", "a", "b"]
    assert all(isinstance(item.content, np.ndarray) and item.content.dtype == np.float32 for item in items)
    np.testing.assert_array_equal(np.stack([np.asarray(item.content) for item in items]), VECTORS)
    assert rejected == []


@pytest.mark.parametrize(("ids", "texts"), [([5, 7, 9], ["5", "7", "9"]), (["x", "y", "z"], ["x", "y", "z"])])
def test_ids_and_labels_are_kept_as_text(tmp_path: Path, ids: list[Any], texts: list[str]) -> None:
    file = write_vectors(tmp_path / "v.parquet", VECTORS, [1, 1, -2], id=ids)
    items, _ = split(ParquetSource(file, LIMITS))
    assert [item.path for item in items] == texts
    assert [item.label for item in items] == ["1", "1", "-2"]


def test_pandas_categories_are_labels(tmp_path: Path) -> None:
    labels = pa.array(["a", "b", "a"]).dictionary_encode()
    items, _ = split(ParquetSource(write_vectors(tmp_path / "v.parquet", VECTORS, labels), LIMITS))
    assert [item.label for item in items] == ["a", "b", "a"]


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float64(), 2)], ids=str)
def test_rows_that_are_no_vector_are_rejected_with_their_reason(tmp_path: Path, kind: Any) -> None:  # noqa: ANN401
    rows = [[1, 2], [np.nan, 1], [np.inf, 1], [None, 1], [1e300, 1], [0, 0], [1e-300, 0], None, [3, 4], [5, 6]]
    labels = ["a"] * 8 + [None, ""]
    file = write_vectors(tmp_path / "v.parquet", pa.array(rows, kind), labels, id=[f"id{i}" for i in range(10)])
    items, rejected = split(ParquetSource(file, LIMITS))
    assert [item.path for item in items] == ["id0"]
    found = ["non_finite_vector"] * 4 + ["zero_vector"] * 2 + ["no_vector"] + ["no_label"] * 2
    assert reasons(rejected) == {f"id{i}": reason for i, reason in enumerate(found, start=1)}


def test_missing_id_is_rejected_and_named_by_its_row(tmp_path: Path) -> None:
    file = write_vectors(tmp_path / "v.parquet", VECTORS, ["a", "a", "b"], id=["x", None, "z"])
    _, rejected = split(ParquetSource(file, LIMITS))
    assert reasons(rejected) == {"v.parquet:1": "no_id"}


def test_wrong_length_is_an_input_error_that_names_file_and_row(tmp_path: Path) -> None:
    write_vectors(tmp_path / "0.parquet", VECTORS, ["a", "a", "b"])
    write_vectors(tmp_path / "1.parquet", [[1.0, 2.0, 3.0], [1.0, 2.0]], ["a", "b"])
    with pytest.raises(InputError, match=r"1\.parquet, row 1: the vector has 2 numbers instead of 3"):
        list(ParquetSource(tmp_path, LIMITS))


def test_empty_vectors_are_an_input_error(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32())
    file = write_vectors(tmp_path / "v.parquet", pa.array([[], []], kind), ["a", "b"])
    with pytest.raises(InputError, match="row 0: the vector has 0 numbers"):
        list(ParquetSource(file, LIMITS))


@pytest.mark.parametrize(
    "columns",
    [
        {"id": [1], "vector": [[1.0]]},
        {"label": ["a"], "vector": [[1.0]]},
        {"id": [1], "label": ["a"]},
        {"id": [1], "label": [1.5], "vector": [[1.0]]},
        {"id": [1], "label": ["a"], "vector": [[1]]},
        {"id": [1], "label": ["a"], "vector": [1.0]},
        {"label": ["a"], "image": [b"bytes"]},
    ],
    ids="+".join,
)
def test_unusable_columns_are_an_input_error_that_lists_what_is_there_and_needed(
    tmp_path: Path, columns: dict[str, Any]
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    with pytest.raises(InputError, match="needs label") as caught:
        ParquetSource(tmp_path / "v.parquet", LIMITS)
    assert all(name in str(caught.value) for name in columns)


def test_images_are_checked_like_files(tmp_path: Path) -> None:
    images = [
        {"bytes": png(), "path": "x.png"},
        {"bytes": b"broken", "path": "y.png"},
        {"bytes": None, "path": "z.png"},
        None,
        {"bytes": png(1), "path": None},
        {"bytes": png(2), "path": "w.png"},
    ]
    pq.write_table(pa.table({"label": [3, 3, 3, 3, 4, None], "image": images}), tmp_path / "i.parquet")
    source = ParquetSource(tmp_path / "i.parquet", LIMITS)
    items, rejected = split(source)
    assert (source.payload, source.num_entries) == (IMAGE, 6)
    assert [(item.label, item.path, item.content) for item in items] == [
        ("3", "x.png", png()),
        ("4", "i.parquet:4", png(1)),
    ]
    assert reasons(rejected) == {
        "y.png": "undecodable",
        "z.png": "undecodable",
        "i.parquet:3": "undecodable",
        "w.png": "no_label",
    }


def test_folder_is_read_in_name_order_without_hidden_files(tmp_path: Path) -> None:
    write_vectors(tmp_path / "b.parquet", VECTORS, ["b"] * 3)
    write_vectors(tmp_path / "a.parquet", VECTORS, ["a"] * 3)
    (tmp_path / "_labels.parquet").write_bytes(b"not for readers")
    items, _ = split(ParquetSource(tmp_path, LIMITS))
    assert [item.label for item in items] == ["a"] * 3 + ["b"] * 3


def test_what_is_no_parquet_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"x\.parquet is not readable as Parquet"):
        ParquetSource(tmp_path / "x.parquet", LIMITS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        ParquetSource(tmp_path / "empty", LIMITS)


def test_many_rows_stream_in_batches_in_order(tmp_path: Path) -> None:
    count = 20_000
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(1, 2 * count + 1, dtype=np.float32)), 2)
    file = write_vectors(tmp_path / "v.parquet", vectors, [str(i % 5) for i in range(count)])
    items, _ = split(ParquetSource(file, LIMITS))
    assert [item.path for item in items] == [str(i) for i in range(count)]
    assert np.asarray(items[-1].content).tolist() == [2 * count - 1, 2 * count]
