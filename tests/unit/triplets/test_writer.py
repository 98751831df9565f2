from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.triplets.schema import TRIPLETS
from pipeline.triplets.writer import TRIPLET_ENCODINGS, serialise
from tests.unit.triplets.samples import QUARANTINE_ROW, publish, triplets


def test_shards_hold_every_triplet_in_order_whatever_the_tables_they_came_in(tmp_path: Path) -> None:
    table = triplets(1000)
    pieces = [table.slice(0, 1), table.slice(1, 0), table.slice(1, 600), table.slice(601)]
    generation = publish(tmp_path, pieces, rows_per_shard=300)
    shards = [generation.shard(index) for index in range(generation.num_shards)]
    assert [len(shard) for shard in shards] == [300, 300, 300, 100]
    assert pa.concat_tables(shards).equals(table)
    assert [part.num_rows for part in generation.manifest.parts_of("triplets")] == [300, 300, 300, 100]


def test_a_generation_without_triplets_has_one_empty_shard(tmp_path: Path) -> None:
    generation = publish(tmp_path, [], rows_per_shard=10)
    assert generation.num_shards == 1 and len(generation.shard(0)) == 0


def test_the_encodings_halve_the_bytes_of_parquets_defaults() -> None:
    table = triplets(50_000)
    default = pa.BufferOutputStream()
    pq.write_table(table, default)
    assert len(serialise(table, TRIPLET_ENCODINGS)) < 0.6 * default.getvalue().size


def test_the_format_of_a_shard_is_that_of_the_golden_file() -> None:
    """Schema and encodings are a contract with everybody who reads the files."""
    metadata = pq.read_metadata(pa.BufferReader(serialise(triplets(100), TRIPLET_ENCODINGS)))
    columns = [metadata.row_group(0).column(index) for index in range(metadata.num_columns)]
    found = [
        f"{column.path_in_schema} {column.physical_type} {column.compression} {' '.join(column.encodings)}\n"
        for column in columns
    ]
    golden = Path(__file__).parents[2] / "golden" / "triplet_shard.txt"
    assert "".join(found) == golden.read_text()
    assert metadata.schema.to_arrow_schema().equals(TRIPLETS)


def test_side_tables_come_back_as_they_were_written(tmp_path: Path) -> None:
    generation = publish(tmp_path, [triplets(5)], rows_per_shard=100)
    assert generation.quarantine().to_pylist() == [QUARANTINE_ROW]
    assert [row["neighbour"] for row in generation.neighbours().to_pylist()] == ["b", "c"]
