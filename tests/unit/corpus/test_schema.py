import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.schema import examples_schema, from_parquet, to_parquet
from pipeline.corpus.split import is_test_label

KNOWN_TEST_LABELS = ["person 3", "person 9"]
LABELS = [f"person {i}" for i in range(4000)]


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_test_fraction_only_adds_test_labels(label: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert is_test_label(label, high) or not is_test_label(label, low)


@given(st.text())
def test_fractions_zero_and_one_keep_none_and_all(label: str) -> None:
    assert not is_test_label(label, 0.0)
    assert is_test_label(label, 1.0)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_share_of_test_labels_is_near_the_fraction(fraction: float) -> None:
    share = np.mean([is_test_label(label, fraction) for label in LABELS])
    assert abs(share - fraction) < 0.03


def test_split_of_known_labels_never_moves() -> None:
    assert [label for label in LABELS[:12] if is_test_label(label, 0.2)] == KNOWN_TEST_LABELS


@pytest.mark.parametrize(("payload", "dim"), [("image", None), ("vector", 5)])
def test_schema_tells_hugging_face_its_features(payload: str, dim: int | None) -> None:
    schema = examples_schema("image" if payload == "image" else "vector", dim)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    if payload == "image":
        assert features["image"] == {"_type": "Image"}
        assert schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    else:
        assert features["vector"]["length"] == 5
        assert schema.field("vector").type == pa.list_(pa.float32(), 5)


def test_parquet_round_trip_keeps_rows_and_metadata() -> None:
    schema = examples_schema("vector", 2)
    rows = [{"example_id": 0, "label": "ä", "vector": [1.0, 2.0], "source_id": "x"}]
    table = pa.Table.from_pylist(rows, schema=schema)
    data = to_parquet(table)
    assert from_parquet(data).to_pylist() == rows
    assert b"huggingface" in pq.read_schema(pa.BufferReader(data)).metadata
