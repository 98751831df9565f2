import os
import sys
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pytest
import torch

from pipeline.config import BandConfig, PositivesConfig
from pipeline.errors import InputError
from pipeline.mining.backends.reference import scan
from pipeline.mining.distance import squared_distances
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest
from tests.support.oracle import unit_vectors
from tests.unit.mining import samples
from tests.unit.mining.backends.test_reference import BANDS
from tests.unit.mining.samples import assert_same, merge

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETER = {} if DEVICE == "cuda" else {"TRITON_INTERPRET": "1"}

if INTERPRETER and "triton" in sys.modules and "TRITON_INTERPRET" not in os.environ:
    pytest.skip("Triton was imported already, without its interpreter", allow_module_level=True)
with pytest.MonkeyPatch.context() as patch:  # asked for when Triton is imported and when a kernel is declared …
    for key, value in INTERPRETER.items():
        patch.setenv(key, value)
    pytest.importorskip("triton", reason="Triton is not installed")
    from pipeline.mining.backends import triton as triton_scan
    from pipeline.mining.backends import triton_kernel
    from pipeline.mining.backends.triton import TritonScan
    from pipeline.mining.backends.triton_kernel import Tile
    from pipeline.mining.backends.triton_operands import Lines, QueryBatch

Entries: TypeAlias = tuple[torch.Tensor, ...]
Dtype: TypeAlias = type[np.floating]
TILE = Tile(anchors=64, candidates=32, warps=4)
ALL = PositivesConfig(max_per_anchor=None)


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for key, value in INTERPRETER.items():
        monkeypatch.setenv(key, value)  # … and when it runs
    yield


def a_shard(num: int, num_labels: int, dim: int, noise: float = 1.0, dtype: Dtype = np.float32, seed: int = 0) -> Shard:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, num).astype(np.int32)
    vectors = unit_vectors(rng, labels, dim, noise)
    vectors[num // 2 : num // 2 + num // 8] = vectors[: num // 8]  # exact ties, across labels too
    return Shard(np.sort(rng.choice(5 * num, num, replace=False)).astype(np.int64), labels, vectors.astype(dtype))


def queries_of(shard: Shard, band: BandConfig, positives: PositivesConfig = ALL, num_anchors: int = 80) -> Queries:
    return samples.queries_of(shard, band, positives, num_anchors)


@pytest.mark.parametrize(("dtype", "num_negatives"), [(np.float16, 1), (np.float32, 3)], ids=["float16", "float32"])
@pytest.mark.parametrize("band", BANDS, ids=lambda band: str(band.mode))
def test_it_finds_what_the_reference_finds(band: BandConfig, num_negatives: int, dtype: Dtype) -> None:
    shard = a_shard(250, 50, 33, dtype=dtype)
    queries = queries_of(shard, band)
    assert len(queries.row_P) > 2 * len(queries.labels_A), "several positives an anchor"
    expected = scan(queries, shard, num_negatives)
    assert expected.found_PM.any(axis=1).mean() > 0.3
    found, unresolved = TritonScan(shard, device=DEVICE, tile=TILE)(queries, num_negatives)
    assert_same(found, expected)
    assert unresolved == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_wide_vectors_are_multiplied_in_steps(dtype: Dtype) -> None:
    shard = a_shard(150, 40, 200, dtype=dtype)
    queries = queries_of(shard, BANDS[1], PositivesConfig(policy="hardest"))
    assert_same(TritonScan(shard, device=DEVICE, tile=TILE)(queries, 2)[0], scan(queries, shard, 2))


@pytest.mark.parametrize(("noise", "dim"), [(0.0, 8), (3.0, 2)], ids=["equal vectors", "crowded plane"])
def test_a_list_that_is_too_short_loses_nothing(noise: float, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    launches: list[tuple[int, int]] = []
    launch = TritonScan._launch

    def spy(self: TritonScan, lines: Lines, batch: QueryBatch, num_negatives: int, first: int, last: int) -> Entries:
        launches.append((first, last))
        return launch(self, lines, batch, num_negatives, first, last)

    monkeypatch.setattr(TritonScan, "_launch", spy)
    shard = a_shard(260, 20, dim, noise)
    queries = queries_of(shard, BANDS[2], PositivesConfig(policy="random"), num_anchors=40)
    short = Tile(anchors=16, candidates=16, capacity=-15, warps=4)  # and 16 more: one entry
    assert_same(TritonScan(shard, device=DEVICE, tile=short)(queries, 1)[0], scan(queries, shard, 1))
    assert launches[0] == (0, 17) and len(launches) > 4


@pytest.mark.parametrize("noise", [0.0, 1.0], ids=["ties", "no ties"])
def test_many_negatives_take_several_passes(noise: float) -> None:
    shard = a_shard(120, 20, 4, noise)
    queries = queries_of(shard, BANDS[1], PositivesConfig(policy="hardest"), num_anchors=30)
    assert_same(TritonScan(shard, device=DEVICE, tile=TILE)(queries, 35)[0], scan(queries, shard, 35))


@pytest.mark.parametrize("band", BANDS[::2], ids=lambda band: str(band.mode))
def test_what_16_bits_cannot_tell_apart_is_told_apart(band: BandConfig) -> None:
    shard = a_shard(200, 100, 24)
    close = shard.vectors_ND[:1] + np.float32(1e-4) * shard.vectors_ND
    shard = Shard(shard.ids_N, shard.labels_N, np.concatenate([close[:150], shard.vectors_ND[150:]]))
    queries = queries_of(shard, band, PositivesConfig(policy="hardest"))
    assert_same(TritonScan(shard, device=DEVICE, tile=TILE)(queries, 2)[0], scan(queries, shard, 2))


def test_splits_blocks_and_shards_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = a_shard(400, 80, 16)
    queries = queries_of(shard, BANDS[1], num_anchors=40)
    expected = scan(queries, shard, 2)
    tile = Tile(anchors=16, candidates=16, warps=4)
    monkeypatch.setattr(triton_scan, "_LINES_AT_ONCE", 64)
    assert_same(TritonScan(shard, device=DEVICE, tile=tile)(queries, 2)[0], expected)
    few = queries_of(shard, BANDS[1], num_anchors=3)
    monkeypatch.setattr(triton_scan, "_LINES_AT_ONCE", 1 << 17)
    assert_same(TritonScan(shard, device=DEVICE, tile=tile)(few, 2)[0], scan(few, shard, 2))
    halves = [Shard(shard.ids_N[i::2], shard.labels_N[i::2], shard.vectors_ND[i::2]) for i in (0, 1)]
    parts = [TritonScan(half, device=DEVICE, tile=TILE)(queries, 2)[0] for half in halves]
    assert_same(merge(*parts), expected)


def test_bounds_of_any_kind() -> None:
    shard = a_shard(100, 10, 8)
    lower = np.array([-np.inf, -5, 0, 0.5, 1, np.inf, 3.9, 0.8, -np.inf], dtype=np.float32)
    upper = np.array([np.inf, 9, 1e30, 0.5, 0.2, np.inf, 4, np.inf, 0.0], dtype=np.float32)
    row = np.repeat(np.arange(5), len(lower))
    bounds = np.tile(lower, 5), np.tile(upper, 5)
    queries = Queries(shard.labels_N[:5], shard.vectors_ND[:5], row, *bounds)
    assert_same(TritonScan(shard, device=DEVICE, tile=TILE)(queries, 2)[0], scan(queries, shard, 2))


def test_nothing_to_find() -> None:
    shard = a_shard(60, 1, 8)
    queries = queries_of(shard, BANDS[0])
    assert not TritonScan(shard, device=DEVICE, tile=TILE)(queries, 2)[0].found_PM.any(), "one label"
    empty = Shard(shard.ids_N[:0], shard.labels_N[:0], shard.vectors_ND[:0])
    assert_same(TritonScan(empty, device=DEVICE)(queries, 2)[0], Nearest.empty(len(queries.row_P), 2))
    none = Queries(queries.labels_A, queries.vectors_AD, queries.row_P[:0], queries.lower_P[:0], queries.upper_P[:0])
    assert_same(TritonScan(shard, device=DEVICE)(none, 3)[0], Nearest.empty(0, 3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("lower", [-np.inf, 0.5], ids=["one product", "three"])
def test_no_nearness_is_off_by_more_than_its_tolerance(dtype: Dtype, lower: float) -> None:
    rng = np.random.default_rng(1)
    vectors = (rng.normal(size=(300, 70)) * rng.lognormal(0, 2, size=(300, 1))).astype(dtype)
    vectors[7] = np.nextafter(dtype(1 + 2**-11), dtype(2))  # just above the middle of two numbers of 16 bits
    shard = Shard(np.arange(300), np.arange(300, dtype=np.int32), vectors)
    bounds = np.full(300, lower, dtype=np.float32), np.full(300, np.inf, dtype=np.float32)
    search = TritonScan(shard, device=DEVICE)
    batch, _ = search._build_batch(Queries(shard.labels_N, vectors, np.arange(300), *bounds))
    tolerance, scale = (x.cpu().numpy() for x in search._tolerance(batch))
    anchors, candidates = (x.matrix_NW.cpu().numpy().astype(np.float32) for x in (batch.anchors, batch.candidates))
    assert candidates.shape[1] == (128 if dtype == np.float16 or lower < 0 else 3 * 128)
    order = np.argsort(search._ids_N.cpu().numpy()[:300])
    near = (anchors @ candidates.T)[:, order] - (batch.candidates.norm_N.cpu().numpy()[order] ** 2 / 2)
    x = vectors.astype(np.float64)
    exact = x @ x.T - (x**2).sum(axis=1) / 2
    assert (np.abs(near - exact) <= tolerance[:, None]).all()
    d = np.stack([squared_distances(np.broadcast_to(row, x.shape), x) for row in x])
    assert (d <= scale[:, None]).all()


def test_what_cannot_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = a_shard(50, 5, 8)
    with pytest.raises(InputError, match="beyond 65504"):
        huge = Shard(shard.ids_N, shard.labels_N, shard.vectors_ND * np.float32(1e6))
        TritonScan(huge, device=DEVICE)(queries_of(shard, BANDS[0]), 1)
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(InputError, match="torch finds no CUDA device here: run where"):
            TritonScan(shard)
    monkeypatch.setattr(triton_kernel, "triton", None)
    assert triton_kernel.unavailable_reason(DEVICE) == "Triton is not installed here"
    with pytest.raises(InputError, match=r"mining\.backend is triton, but Triton is not installed"):
        TritonScan(shard, device=DEVICE)
