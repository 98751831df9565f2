from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cluster.worker import RefreshWorker
from pipeline.config import CorpusConfig, EncoderConfig, MiningConfig, RunConfig, SourceConfig
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.errors import CorruptDataError
from pipeline.storage.workspace import Workspace

NUM, KEY = 30, "k" * 32


def worker(folder: Path, mining: MiningConfig | None = None) -> tuple[RefreshWorker, EmbeddingParts]:
    """A worker on a corpus of 30 vectors in parts of 12, none of which is for testing."""
    vectors = np.random.default_rng(0).normal(size=(NUM, 4)).astype(np.float32)
    labels = [f"label-{i // 3}" for i in range(NUM)]
    table = {"id": [str(i) for i in range(NUM)], "label": labels, "vector": vectors.tolist()}
    pq.write_table(pa.table(table), folder / "vectors.parquet")
    config = RunConfig(
        workspace=str(folder / "place"),
        corpus=CorpusConfig(
            source=SourceConfig(kind="parquet", path=str(folder / "vectors.parquet")),
            examples_per_part=12,
            test_fraction=0,
        ),
        encoder=EncoderConfig(name="identity", embedding_dim=4),
        mining=mining or MiningConfig(),
    )
    workspace = Workspace.open(config.workspace, config.run)
    prepare(config.corpus, workspace, config.seed, config.digest())
    return RefreshWorker(config, Corpus.open(workspace).manifest.number), EmbeddingParts(workspace, KEY)


def store(parts: EmbeddingParts, vectors_ND: np.ndarray) -> None:
    for part, start in enumerate(range(0, NUM, 12)):
        parts.write(part, start, vectors_ND[start : start + 12].astype(np.float32), "float32")


def unit(num_dims: int) -> np.ndarray:
    vectors = np.random.default_rng(1).normal(size=(NUM, num_dims))
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def test_embeddings_that_cannot_be_mined_are_left_out_and_named(tmp_path: Path) -> None:
    one, parts = worker(tmp_path)
    vectors = unit(4)
    vectors[3, 1], vectors[13, 0], vectors[17], vectors[20] = np.nan, np.inf, 0.0, 1e-9
    store(parts, vectors)
    shard, sample, statistics = one.load_shard(KEY, 2, 25, 0)
    assert sample is None, "all of it is searched"
    assert statistics.non_finite.tolist() == [3, 13]
    assert statistics.zero.tolist() == [17, 20]
    assert shard.ids_N.tolist() == sorted(set(range(2, 25)) - {3, 13, 17, 20})
    np.testing.assert_array_equal(shard.vectors_ND, vectors[shard.ids_N].astype(np.float32))


def test_embeddings_of_another_dimension_are_an_error(tmp_path: Path) -> None:
    one, parts = worker(tmp_path)
    store(parts, unit(5))
    with pytest.raises(CorruptDataError, match="has 5 dimensions, not 4"):
        one.load_shard(KEY, 0, NUM, 0)


def test_a_sample_is_part_of_the_shard_and_all_of_it_stays_at_hand(tmp_path: Path) -> None:
    one, parts = worker(tmp_path, MiningConfig(candidate_fraction=0.4))
    store(parts, unit(4))
    shard, sample, _ = one.load_shard(KEY, 0, NUM, 5)
    assert len(shard) == NUM
    assert sample is not None and 0 < len(sample) < NUM and np.isin(sample.ids_N, shard.ids_N).all()
