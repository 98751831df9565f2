"""Shards are cut by size, lose no row, and hold whatever a label holds."""

import csv
import io
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.inspection.export import exports
from pipeline.inspection.export import layouts as export_layouts
from pipeline.inspection.export.layouts import SUFFIXES, Format
from pipeline.inspection.export.shards import ShardWriter, Suffix
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.rows import ROLES, TripletQuery, select_rows
from pipeline.storage.object_store import open_store
from tests.unit.inspection.export_samples import exported, loaded, vectors
from tests.unit.inspection.report_samples import mined, prepared, publish_generation
from tests.unit.inspection.sql_samples import digests

__all__ = ["vectors"]

SCHEMA = pa.schema([("i", pa.int64()), ("text", pa.string())])
LABELS = ('a, "b"\n; c', "=1+1", "x\ty", "null")
NUM_TRIPLETS = 60
HARDEST = TripletQuery("hardest")


def read(data: bytes, suffix: Suffix) -> pa.Table:
    if suffix == "parquet":
        return pq.read_table(pa.BufferReader(data))
    options = pa.csv.ConvertOptions(column_types=SCHEMA, strings_can_be_null=False)
    parsing = pa.csv.ParseOptions(newlines_in_values=True)
    return pa.csv.read_csv(io.BytesIO(data), convert_options=options, parse_options=parsing)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@settings(max_examples=40)
@given(
    batches=st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))),
    shard_bytes=st.sampled_from([1, 300, 2**20]),
)
def test_the_shards_together_are_what_was_written(suffix: Suffix, batches: list[list[str]], shard_bytes: int) -> None:
    tables = [pa.table([range(len(texts)), texts], schema=SCHEMA) for texts in batches]
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"{folder}/to")
        writer = ShardWriter(store, Path(folder), SCHEMA, suffix, shard_bytes)
        for table in tables:
            writer.write(table)
        writer.close()
        keys = store.list("")
        assert keys == [f"data/train-{index:05d}.{suffix}" for index in range(writer.num_shards)]
        found = [store.get(key) for key in keys]
    assert sum(map(len, found)) == writer.num_bytes
    assert all(len(data) >= shard_bytes for data in found[:-1])
    rows = [row for data in found for row in read(data, suffix).to_pylist()]
    assert rows == [row for table in tables for row in table.to_pylist()]
    if shard_bytes == 1:  # every table fills a shard
        assert writer.num_shards == len(tables)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> OpenGeneration:
    """Read only: triplets of pictures whose labels are hard to write as CSV."""
    workspace = prepared(tmp_path_factory.mktemp("images"), LABELS)
    return publish_generation(workspace, 0, mined(Corpus.open(workspace), NUM_TRIPLETS))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one batch of seven rows."""
    monkeypatch.setattr(export_layouts, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(exports, "ShardWriter", partial(ShardWriter, shard_bytes=1))


def test_csv_quotes_labels_as_the_standard_has_it_in_every_shard(
    images: OpenGeneration, tmp_path: Path, small_shards: None
) -> None:
    assert exported(images, tmp_path, "csv", HARDEST).num_shards == NUM_TRIPLETS // 7 + 1
    rows: list[dict[str, str]] = []
    for file in sorted((tmp_path / "export" / "data").iterdir()):
        with file.open(newline="", encoding="utf-8") as text:
            rows += csv.DictReader(text)
    paths = images.corpus.paths_of(range(images.corpus.num_examples))
    for row, expected in zip(rows, select_rows(images, HARDEST), strict=True):
        assert (row["label"], row["negative_label"]) == (expected.label, expected.negative_label)
        for role in ROLES:
            assert int(row[role]) == getattr(expected, role) and row[f"{role}_path"] == paths[getattr(expected, role)]
        for name in ("d_ap", "d_an"):
            assert np.float32(row[name]) == np.float32(getattr(expected, name))
    assert {row["label"] for row in rows} == set(LABELS)


def test_datasets_opens_csv_in_several_shards(vectors: OpenGeneration, tmp_path: Path, small_shards: None) -> None:
    assert exported(vectors, tmp_path, "csv", HARDEST).num_shards > 1
    found = [[row[name] for name in (*ROLES, "label")] for row in loaded(tmp_path)]
    expected = select_rows(vectors, HARDEST)
    assert found == [[row.anchor, row.positive, row.negative, row.label] for row in expected]


def test_datasets_opens_parquet_in_several_shards_in_order(
    images: OpenGeneration, tmp_path: Path, small_shards: None
) -> None:
    query = TripletQuery("hardest", limit=20)
    assert exported(images, tmp_path, "datasets", query).num_shards == 3
    found = loaded(tmp_path)
    assert found.features["anchor"].dtype == "PIL.Image.Image"
    expected = select_rows(images, query)
    assert [found[f"{role}_id"][:] for role in ROLES] == [[getattr(row, role) for row in expected] for role in ROLES]


def test_vectors_for_sentence_transformers_are_three_columns_of_exact_numbers(
    vectors: OpenGeneration, tmp_path: Path
) -> None:
    exported(vectors, tmp_path, "sentence-transformers", HARDEST)
    found = loaded(tmp_path)
    assert found.column_names == list(ROLES)
    expected = select_rows(vectors, HARDEST)
    for role in ROLES:
        stored = np.eye(12, dtype=np.float32)[[getattr(row, role) for row in expected]]
        assert np.array_equal(np.array(found[role], np.float32), stored)


def test_a_limit_beyond_the_generation_is_all_of_it(images: OpenGeneration, tmp_path: Path) -> None:
    assert exported(images, tmp_path, "csv", TripletQuery(limit=10**6)).num_triplets == NUM_TRIPLETS


@pytest.mark.parametrize("layout", SUFFIXES)
def test_an_export_changes_nothing_in_the_workspace(images: OpenGeneration, tmp_path: Path, layout: Format) -> None:
    before = digests(images.workspace)
    exported(images, tmp_path, layout)
    assert digests(images.workspace) == before


def test_a_target_that_is_a_file_is_refused(images: OpenGeneration, tmp_path: Path) -> None:
    (tmp_path / "export").write_text("mine")
    with pytest.raises(InputError, match=str(tmp_path / "export")):
        exported(images, tmp_path, "csv")
    assert (tmp_path / "export").read_text() == "mine"
