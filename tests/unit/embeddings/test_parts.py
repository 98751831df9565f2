from pathlib import Path

import numpy as np
import pytest

from pipeline.embeddings.parts import DType, EmbeddingParts, embeddings_key
from pipeline.errors import CorruptDataError
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.workspace import Workspace

KEY = embeddings_key("weights", "corpus", [3, 2], "transform", "float32")


def parts(folder: Path, key: str = KEY) -> EmbeddingParts:
    return EmbeddingParts(Workspace.open(str(folder), "main"), key)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vectors_come_back_in_their_stored_precision(tmp_path: Path, dtype: DType) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    parts(tmp_path).write(1, 40, vectors, dtype)
    assert parts(tmp_path).present() == {1}
    found = parts(tmp_path).read(1, 40, 3)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, vectors.astype(dtype))


def test_everything_that_a_vector_depends_on_is_in_the_key() -> None:
    others = [
        embeddings_key("other weights", "corpus", [3, 2], "transform", "float32"),
        embeddings_key("weights", "other corpus", [3, 2], "transform", "float32"),
        embeddings_key("weights", "corpus", [5], "transform", "float32"),
        embeddings_key("weights", "corpus", [3, 2], "other transform", "float32"),
        embeddings_key("weights", "corpus", [3, 2], "transform", "float16"),
    ]
    assert len({KEY, *others}) == 6


def test_the_first_part_written_stands_and_is_not_touched_by_a_late_actor(store: ObjectStore) -> None:
    ones, found = np.ones((2, 4), dtype=np.float32), EmbeddingParts(Workspace(store, "main"), KEY)
    found.write(0, 0, ones, "float32")
    (key,) = store.list("")
    stored = store.get(key)
    found.write(0, 0, 2 * ones, "float32")
    assert store.list("") == [key] and store.get(key) == stored
    np.testing.assert_array_equal(found.read(0, 0, 2), ones)


def test_a_part_in_the_wrong_place_or_damaged_is_refused(tmp_path: Path) -> None:
    parts(tmp_path).write(0, 0, np.ones((2, 4), dtype=np.float32), "float32")
    for number_of_rows, first_id in ((3, 0), (2, 7)):
        with pytest.raises(CorruptDataError, match="not the part"):
            parts(tmp_path).read(0, first_id, number_of_rows)
    file = next(tmp_path.rglob("000000.parquet"))
    other = parts(tmp_path, "another key")
    (tmp_path / "embeddings" / "another key").mkdir()
    (tmp_path / "embeddings" / "another key" / "000000.parquet").write_bytes(file.read_bytes())
    with pytest.raises(CorruptDataError, match="not the part"):
        other.read(0, 0, 2)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(CorruptDataError, match="damaged"):
        parts(tmp_path).read(0, 0, 2)
    file.write_bytes(data[:50])
    with pytest.raises(CorruptDataError, match="damaged"):
        parts(tmp_path).read(0, 0, 2)
