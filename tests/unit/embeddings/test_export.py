import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.embeddings.export import ExportDType, export_part


@pytest.mark.parametrize(("dtype", "stored_as"), [("float32", "float"), ("float16", "halffloat"), ("int8", "int8")])
def test_what_was_exported_reads_back(dtype: ExportDType, stored_as: str) -> None:
    vectors = np.random.default_rng(0).integers(-100, 100, (5, 8)).astype(np.float32)
    stored = vectors.astype(np.int8) if dtype == "int8" else vectors
    data = export_part(range(10, 15), list("pqrst"), list("aabbc"), stored, dtype, {"run": "main"})
    table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    assert table.column_names == ["example_id", "id", "label", "vector"]
    assert table["example_id"].to_pylist() == [10, 11, 12, 13, 14]
    assert (table["id"].to_pylist(), table["label"].to_pylist()) == (list("pqrst"), list("aabbc"))
    assert str(table.schema.field("vector").type) == f"fixed_size_list<element: {stored_as}>[8]"
    assert np.array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), vectors)
    assert table.schema.metadata[b"run"] == b"main"


def test_a_128_byte_embedding_takes_128_bytes() -> None:
    def size(num: int) -> int:
        codes = np.random.default_rng(0).integers(-127, 128, (num, 128)).astype(np.int8)
        return len(export_part(range(num), ["x"] * num, ["y"] * num, codes, "int8", {}))

    assert 128 <= (size(4000) - size(2000)) / 2000 < 128 + 8  # ids and names are a few bytes
