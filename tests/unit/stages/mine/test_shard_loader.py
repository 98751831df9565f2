import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.config import EncoderConfig, MiningConfig, RunConfig
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.errors import CorruptDataError
from pipeline.stages.mine.shard_loader import Span, drop_examples, load_shard, take_rows
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import parquet_config, run_prepare, write_vectors

NUM, KEY = 30, "k" * 32


def unit(num_dims: int) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(1).normal(size=(NUM, num_dims))
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def place(folder: Path, embeddings_ND: npt.NDArray[np.float32], candidate_fraction: float = 1.0) -> RunConfig:
    """A corpus of 30 vectors in parts of 12, none of which is for testing, that were embedded so."""
    labels = [f"label-{i // 3}" for i in range(NUM)]
    file = write_vectors(folder / "vectors.parquet", unit(4).tolist(), labels)
    config = RunConfig(
        workspace=str(folder / "place"),
        corpus=parquet_config(file, examples_per_part=12),
        encoder=EncoderConfig(name="identity", embedding_dim=4),
        mining=MiningConfig(candidate_fraction=candidate_fraction),
    )
    workspace = Workspace.open(config.workspace, config.run)
    run_prepare(config.corpus, workspace)
    for part, start in enumerate(range(0, NUM, 12)):
        EmbeddingParts(workspace, KEY).write(part, start, embeddings_ND[start : start + 12], "float32")
    return config


def test_embeddings_that_cannot_be_mined_are_left_out_and_named(tmp_path: Path) -> None:
    vectors = unit(4)
    vectors[3, 1], vectors[13, 0], vectors[17], vectors[20] = np.nan, np.inf, 0.0, 1e-9
    shard, sample, statistics = load_shard(place(tmp_path, vectors), 0, Span(KEY, 2, 25, 0, None))
    assert sample is None, "all of it is searched"
    assert statistics.non_finite.tolist() == [3, 13]
    assert statistics.zero.tolist() == [17, 20]
    assert shard.ids_N.tolist() == sorted(set(range(2, 25)) - {3, 13, 17, 20})
    np.testing.assert_array_equal(shard.vectors_ND, vectors[shard.ids_N])


def test_embeddings_of_another_dimension_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorruptDataError, match="has 5 dimensions, not 4"):
        load_shard(place(tmp_path, unit(5)), 0, Span(KEY, 0, NUM, 0, None))


def test_a_sample_is_part_of_the_shard_and_all_of_it_stays_at_hand(tmp_path: Path) -> None:
    shard, sample, _ = load_shard(place(tmp_path, unit(4), candidate_fraction=0.4), 0, Span(KEY, 0, NUM, 5, None))
    assert len(shard) == NUM
    assert sample is not None and 0 < len(sample) < NUM and np.isin(sample.ids_N, shard.ids_N).all()


def test_rows_are_taken_and_dropped_by_id(tmp_path: Path) -> None:
    shard, sample, _ = load_shard(place(tmp_path, unit(4), candidate_fraction=0.4), 0, Span(KEY, 3, NUM, 5, None))
    assert sample is not None
    taken = take_rows(np.array([4, 9, 21]), shard)
    assert taken.ids_N.tolist() == [4, 9, 21]
    np.testing.assert_array_equal(taken.vectors_ND, shard.vectors_ND[[1, 6, 18]])
    left, searched, num_left = drop_examples(sample.ids_N[:2], shard, sample)
    assert num_left == len(left) == len(shard) - 2 and searched is not None
    assert searched.ids_N.tolist() == sample.ids_N[2:].tolist()
    assert not np.isin(sample.ids_N[:2], left.ids_N).any()


def test_a_process_that_loads_shards_need_not_import_torch() -> None:
    """It starts in the middle of a refresh, on a node that may have many of them."""
    modules = "pipeline.stages.mine.shard_loader, pipeline.stages.mine.queries"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
