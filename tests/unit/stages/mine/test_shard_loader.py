import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import CorpusConfig, EncoderConfig, MiningConfig, RunConfig, SourceConfig
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.errors import CorruptDataError
from pipeline.stages.mine.shard_loader import Span, drop_examples, load_shard, take_rows
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import write_vectors

NUM, KEY = 30, "k" * 32


def place(folder: Path, mining: MiningConfig | None = None) -> tuple[RunConfig, int, EmbeddingParts]:
    """A corpus of 30 vectors in parts of 12, none of which is for testing."""
    vectors = np.random.default_rng(0).normal(size=(NUM, 4)).astype(np.float32)
    labels = [f"label-{i // 3}" for i in range(NUM)]
    file = write_vectors(folder / "vectors.parquet", vectors.tolist(), labels)
    config = RunConfig(
        workspace=str(folder / "place"),
        corpus=CorpusConfig(
            source=SourceConfig(kind="parquet", path=str(file)),
            examples_per_part=12,
            test_fraction=0,
        ),
        encoder=EncoderConfig(name="identity", embedding_dim=4),
        mining=mining or MiningConfig(),
    )
    workspace = Workspace.open(config.workspace, config.run)
    prepare(config.corpus, workspace, config.seed, config.digest())
    return config, Corpus.open(workspace).manifest.number, EmbeddingParts(workspace, KEY)


def store(parts: EmbeddingParts, vectors_ND: np.ndarray) -> None:
    for part, start in enumerate(range(0, NUM, 12)):
        parts.write(part, start, vectors_ND[start : start + 12].astype(np.float32), "float32")


def unit(num_dims: int) -> np.ndarray:
    vectors = np.random.default_rng(1).normal(size=(NUM, num_dims))
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def test_embeddings_that_cannot_be_mined_are_left_out_and_named(tmp_path: Path) -> None:
    config, number, parts = place(tmp_path)
    vectors = unit(4)
    vectors[3, 1], vectors[13, 0], vectors[17], vectors[20] = np.nan, np.inf, 0.0, 1e-9
    store(parts, vectors)
    shard, sample, statistics = load_shard(config, number, Span(KEY, 2, 25, 0, None))
    assert sample is None, "all of it is searched"
    assert statistics.non_finite.tolist() == [3, 13]
    assert statistics.zero.tolist() == [17, 20]
    assert shard.ids_N.tolist() == sorted(set(range(2, 25)) - {3, 13, 17, 20})
    np.testing.assert_array_equal(shard.vectors_ND, vectors[shard.ids_N].astype(np.float32))


def test_embeddings_of_another_dimension_are_an_error(tmp_path: Path) -> None:
    config, number, parts = place(tmp_path)
    store(parts, unit(5))
    with pytest.raises(CorruptDataError, match="has 5 dimensions, not 4"):
        load_shard(config, number, Span(KEY, 0, NUM, 0, None))


def test_a_sample_is_part_of_the_shard_and_all_of_it_stays_at_hand(tmp_path: Path) -> None:
    config, number, parts = place(tmp_path, MiningConfig(candidate_fraction=0.4))
    store(parts, unit(4))
    shard, sample, _ = load_shard(config, number, Span(KEY, 0, NUM, 5, None))
    assert len(shard) == NUM
    assert sample is not None and 0 < len(sample) < NUM and np.isin(sample.ids_N, shard.ids_N).all()


def test_rows_are_taken_and_dropped_by_id(tmp_path: Path) -> None:
    config, number, parts = place(tmp_path, MiningConfig(candidate_fraction=0.4))
    store(parts, unit(4))
    shard, sample, _ = load_shard(config, number, Span(KEY, 3, NUM, 5, None))
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
