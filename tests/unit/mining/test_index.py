import sys

import numpy as np
import pytest

from pipeline.config import BandConfig, MiningConfig
from pipeline.errors import InputError
from pipeline.mining.index import FlatIndex
from pipeline.mining.miner import resolve_backend
from pipeline.mining.scan import Queries, scan
from pipeline.mining.shards import Shard
from tests.unit.mining.oracle import mine, unit_vectors

pytest.importorskip("faiss", reason="the extra `cpu` is not installed")


@pytest.mark.parametrize("num_labels", [3, 200])
def test_faiss_gives_the_triplets_of_the_scan(num_labels: int) -> None:
    rng = np.random.default_rng(11)
    labels = rng.integers(0, num_labels, 1500).astype(np.int32)
    vectors = unit_vectors(rng, labels, 32, 0.7)
    vectors[700:720] = vectors[20:40]
    hard = BandConfig(mode="hard")
    faiss = mine(MiningConfig(backend="faiss", band=hard, negatives_per_pair=2), vectors, labels, 2)
    exact = mine(MiningConfig(backend="reference", band=hard, negatives_per_pair=2), vectors, labels, 2)
    for column, other in zip(vars(faiss).values(), vars(exact).values(), strict=True):
        np.testing.assert_array_equal(column, other)


def test_what_the_index_cannot_resolve_is_counted_and_scanned() -> None:
    labels = np.repeat(np.array([0, 1], dtype=np.int32), 500)
    vectors = unit_vectors(np.random.default_rng(2), labels, 16, 0.1)  # the nearest hundreds share the label
    shard = Shard(np.arange(1000), labels, vectors)
    infinite = np.full(5, np.inf, dtype=np.float32)
    queries = Queries(labels[:5], vectors[:5], np.arange(5), -infinite, infinite)
    found, num_unresolved = FlatIndex(shard).scan(queries, 1)
    assert num_unresolved == 5
    np.testing.assert_array_equal(found.id_PM, scan(queries, shard, 1).id_PM)


def test_faiss_that_is_asked_for_and_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match="pip install"):
        resolve_backend(MiningConfig(backend="faiss", band=BandConfig(mode="hard")))
    assert resolve_backend(MiningConfig()) == "reference"
