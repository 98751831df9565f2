import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import BandConfig, IndexConfig, MiningConfig, PositivesConfig
from pipeline.errors import InputError
from pipeline.mining.backends import faiss as index_module
from pipeline.mining.backends.faiss import FaissIndex
from pipeline.mining.backends.reference import scan
from pipeline.mining.backends.registry import resolve_backend
from pipeline.mining.distance import squared_distances
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest
from tests.support.oracle import unit_vectors
from tests.unit.mining.backends.test_reference import BANDS, corpora
from tests.unit.mining.samples import assert_same, queries_of

faiss = pytest.importorskip("faiss", reason="the extra `cpu` is not installed")

NOWHERE = BandConfig(mode="range", low=3.9, high=3.91)
EVERY_INDEX = ["IVF16,Flat", "IVF16,SQfp16", "IVF16,PQ8x4", "PCA16,Flat", "HNSW16"]


def make_shard(num: int, num_labels: int, noise: float = 0.8) -> Shard:
    """A clustered corpus with 20 examples that exist twice, under two labels."""
    rng = np.random.default_rng(11)
    labels = rng.integers(0, num_labels, num).astype(np.int32)
    vectors = unit_vectors(rng, labels, 24, noise)
    vectors[num // 2 : num // 2 + 20] = vectors[20:40]
    return Shard(np.arange(num) * 3, labels, vectors)


def ask(shard: Shard, band: BandConfig, max_per_anchor: int = 4) -> Queries:
    """Every anchor of the corpus, with some of its positives."""
    return queries_of(shard, band, PositivesConfig(max_per_anchor=max_per_anchor))


class Recorded:
    """The scan of a shard, which remembers what was asked of it."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.queries: list[Queries] = []

    def __call__(self, queries: Queries, num_negatives: int) -> tuple[Nearest, int]:
        self.queries.append(queries)
        return scan(queries, self._shard, num_negatives), 0


def search(shard: Shard, queries: Queries, num_negatives: int, config: IndexConfig) -> tuple[Nearest, int]:
    return FaissIndex(shard, config, Recorded(shard))(queries, num_negatives)


def recall(found: Nearest, exact: Nearest) -> float:
    """The share of the nearest that was found."""
    hit_PM = (exact.id_PM[:, :, None] == found.id_PM[:, None, :]).any(axis=2)
    return float(hit_PM[exact.found_PM].mean())


@pytest.mark.parametrize("band", BANDS, ids=lambda band: str(band.mode))
def test_flat_gives_what_the_scan_gives_and_does_some_of_the_work(band: BandConfig) -> None:
    shard = make_shard(1200, 200)
    queries = ask(shard, band)
    found, num_unresolved = search(shard, queries, 2, IndexConfig(num_neighbours=32))
    assert_same(found, scan(queries, shard, 2))
    assert num_unresolved < 0.9 * len(queries.row_P)


@settings(max_examples=50)
@given(st.data())
def test_flat_gives_what_the_scan_gives_whatever_the_corpus(data: st.DataObject) -> None:
    vectors, labels = data.draw(corpora())
    shard = Shard(np.arange(len(labels)), labels, vectors)
    queries = ask(shard, data.draw(st.sampled_from([*BANDS, NOWHERE])))
    num_negatives = data.draw(st.integers(1, 3))
    config = IndexConfig(num_neighbours=data.draw(st.sampled_from([1, 8, 500])))
    found, _ = search(shard, queries, num_negatives, config)
    assert_same(found, scan(queries, shard, num_negatives))


@pytest.mark.parametrize("factory", EVERY_INDEX)
@pytest.mark.parametrize("band", BANDS, ids=lambda band: str(band.mode))
def test_every_index_gives_negatives_in_their_band_for_all_that_have_one(band: BandConfig, factory: str) -> None:
    shard = make_shard(1000, 250)
    queries = ask(shard, band)
    found, num_unresolved = search(shard, queries, 2, IndexConfig(factory=factory, nprobe=2, num_neighbours=8))
    exact = scan(queries, shard, 2)
    np.testing.assert_array_equal(found.found_PM, exact.found_PM, "as many for each pair as the scan finds")
    pair, place = np.nonzero(found.found_PM)
    d_an, row = found.d_an_PM[pair, place], found.id_PM[pair, place] // 3
    vectors = queries.vectors_AD[queries.row_P[pair]]
    np.testing.assert_array_equal(d_an, squared_distances(vectors, shard.vectors_ND[row]).astype(np.float32))
    assert (queries.lower_P[pair] < d_an).all() and (d_an < queries.upper_P[pair]).all()
    assert (shard.labels_N[row] != queries.labels_A[queries.row_P[pair]]).all()
    assert (found.d_an_PM >= exact.d_an_PM).all() and recall(found, exact) > 0.5
    assert num_unresolved < len(queries.row_P)


@pytest.mark.parametrize("band", BANDS[:2], ids=lambda band: str(band.mode))
def test_recall_grows_with_the_cells_that_are_looked_into(band: BandConfig) -> None:
    shard = make_shard(3000, 900)
    queries = ask(shard, band)
    exact = scan(queries, shard, 1)
    one, some, all_cells = (
        recall(search(shard, queries, 1, IndexConfig(factory="IVF32,Flat", nprobe=nprobe))[0], exact)
        for nprobe in (1, 4, 32)
    )
    assert 0.3 < one < some < all_cells == 1.0


@pytest.mark.parametrize("factory", ["Flat", *EVERY_INDEX])
def test_repeating_it_gives_the_same_bits(factory: str) -> None:
    shard = make_shard(1000, 250)
    queries = ask(shard, BANDS[1])
    first, second = (
        search(shard, queries, 2, IndexConfig(factory=factory, nprobe=2, num_neighbours=8)) for _ in range(2)
    )
    assert_same(first[0], second[0])
    assert first[1] == second[1]


def test_what_the_index_cannot_resolve_is_counted_and_scanned() -> None:
    labels = np.repeat(np.array([0, 1, 2], dtype=np.int32), [500, 500, 10])
    vectors = unit_vectors(np.random.default_rng(2), labels, 16, 0.1)
    shard = Shard(np.arange(1010), labels, vectors)
    rows, row_P = np.array([0, 600, 1005]), np.array([0, 0, 1, 2, 2])
    upper_P = np.array([0.1, np.inf, np.inf, 0.1, np.inf], dtype=np.float32)
    queries = Queries(labels[rows], vectors[rows], row_P, np.zeros(5, dtype=np.float32), upper_P)
    answerable = np.isfinite(scan(queries, shard, 1).d_an_PM[:, 0])
    np.testing.assert_array_equal(answerable, [False, True, True, False, True])

    fallback = Recorded(shard)
    found, num_unresolved = FaissIndex(shard, IndexConfig(factory="SQfp16", num_neighbours=8), fallback)(queries, 1)
    assert num_unresolved == 2, "an approximate index finds nothing near, and leaves it to the scan to say so"
    assert_same(found, scan(queries, shard, 1))
    asked = fallback.queries[0]
    np.testing.assert_array_equal(asked.row_P, [0, 1])
    np.testing.assert_array_equal(asked.labels_A, [0, 2])
    np.testing.assert_array_equal(asked.vectors_AD, vectors[[0, 1005]])
    np.testing.assert_array_equal(asked.upper_P, upper_P[[0, 3]])

    assert search(shard, queries, 1, IndexConfig(num_neighbours=8))[1] == 0, "a Flat index proves that there is none"
    assert search(shard, queries, 600, IndexConfig(num_neighbours=2000))[1] == 0, "and all the more when it lists all"


def test_a_list_that_ends_among_ties_is_no_proof() -> None:
    vectors = np.ones((400, 8), dtype=np.float32) / np.float32(np.sqrt(8))
    shard = Shard(np.arange(400), np.repeat(np.arange(40), 10).astype(np.int32), vectors)
    queries = ask(shard, BANDS[0])
    found, num_unresolved = search(shard, queries, 2, IndexConfig(num_neighbours=5))
    assert num_unresolved == len(queries.row_P)
    assert_same(found, scan(queries, shard, 2))


@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat"])
def test_slices_do_not_matter(factory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = make_shard(600, 100)
    queries = ask(shard, BANDS[1])
    whole = search(shard, queries, 2, IndexConfig(factory=factory, nprobe=2))
    monkeypatch.setattr(index_module, "_LISTED_AT_ONCE", 500)
    assert_same(search(shard, queries, 2, IndexConfig(factory=factory, nprobe=2))[0], whole[0])


def test_an_empty_shard_has_no_negatives() -> None:
    queries = ask(make_shard(100, 10), BANDS[0])
    empty = Shard(np.empty(0, np.int64), np.empty(0, np.int32), np.empty((0, 24), np.float32))
    found, num_unresolved = search(empty, queries, 2, IndexConfig(factory="IVF16,Flat"))
    assert not found.found_PM.any() and num_unresolved == 0


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nonsense", "could not parse"),
        ("", "could not parse"),
        ("PQ5", "multiple of the number of subquantizers"),
        ("PQ8", "Number of training points"),
        ("IVF201,Flat", "IVF1 to IVF200"),
        ("IVF99999999999,Flat", "IVF1 to IVF200"),
        ("IVF0,Flat", "IVF1 to IVF200"),
        ("HNSW0", "HNSW2 to"),
        ("PCA64,Flat", "64 dimensions"),
        ("IDMap,Flat", "add_with_ids"),
        ("CAGRA", "cuVS"),
    ],
)
def test_a_factory_string_that_does_not_work_here_is_a_clear_error(factory: str, message: str) -> None:
    shard = make_shard(200, 20)
    with pytest.raises(InputError, match=rf"mining\.index\.factory.*{message}"):
        FaissIndex(shard, IndexConfig(factory=factory), Recorded(shard))


def test_a_gpu_that_faiss_cannot_use_is_an_error() -> None:
    if hasattr(faiss, "StandardGpuResources"):
        pytest.skip("this faiss can")
    shard = make_shard(200, 20)
    with pytest.raises(InputError, match=r"\[gpu\]"):
        FaissIndex(shard, IndexConfig(), Recorded(shard), "cuda")


class OnGpu:
    """A stand-in for a Flat index on a GPU: it sees vectors in half precision, and lists 2,048 of them at most."""

    def __init__(self, resources: object, num_dims: int, metric: int) -> None:
        self._index = faiss.IndexFlat(num_dims, metric)

    def train(self, vectors_ND: np.ndarray) -> None:
        self.add(vectors_ND)

    def add(self, vectors_ND: np.ndarray) -> None:
        if self._index.ntotal == 0:
            self._index.add(vectors_ND.astype(np.float16).astype(np.float32))

    def search(
        self, vectors_AD: np.ndarray, k: int, params: SimpleNamespace | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        assert k <= 2048 and (params is None or params.itopk_size >= k)
        distances_AK, row_AK = self._index.search(vectors_AD.astype(np.float16).astype(np.float32), k)
        return distances_AK, row_AK


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def clone(resources: object, device: int, index: Any, options: SimpleNamespace) -> OnGpu:  # noqa: ANN401
        assert options.useFloat16
        return OnGpu(resources, index.d, index.metric_type)

    for name, stand_in in {
        "StandardGpuResources": object,
        "GpuClonerOptions": SimpleNamespace,
        "index_cpu_to_gpu": clone,
        "GpuIndexCagra": OnGpu,
        "SearchParametersCagra": SimpleNamespace,
    }.items():
        monkeypatch.setattr(faiss, name, stand_in, raising=False)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("num_neighbours", [1, 5000])
def test_a_gpu_that_rounds_and_stops_at_2048_still_gives_what_the_scan_gives(num_neighbours: int) -> None:
    shard = make_shard(2100, 300, noise=0.3)  # own label first: a list then ends next to the third negative
    queries = ask(shard, BANDS[0], 1)
    config = IndexConfig(num_neighbours=num_neighbours)
    found, num_unresolved = FaissIndex(shard, config, Recorded(shard), "cuda")(queries, 3)
    assert_same(found, scan(queries, shard, 3))
    assert (num_unresolved == 0) == (num_neighbours == 5000)


@pytest.mark.usefixtures("gpu")
def test_cagra_is_searched_as_any_approximate_index() -> None:
    shard = make_shard(500, 100)
    queries = ask(shard, BANDS[1])
    config = IndexConfig(factory="CAGRA", num_neighbours=100)
    found, num_unresolved = FaissIndex(shard, config, Recorded(shard), "cuda")(queries, 1)
    exact = scan(queries, shard, 1)
    np.testing.assert_array_equal(found.found_PM, exact.found_PM)
    assert recall(found, exact) > 0.9 and num_unresolved < len(queries.row_P)


def test_faiss_that_is_asked_for_and_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match="pip install"):
        resolve_backend(MiningConfig(backend="faiss", band=BandConfig(mode="hard")))
    assert resolve_backend(MiningConfig()) != "faiss", "auto does not need it"
