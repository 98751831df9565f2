import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import BandConfig, MiningConfig, PositivesConfig
from pipeline.errors import InputError
from pipeline.mining.audit.suspects import MinDistances
from pipeline.mining.backends.native import compiled
from pipeline.mining.backends.native.ladder import InstructionSet
from pipeline.mining.backends.native.search import NativeScan
from pipeline.mining.backends.reference import scan
from pipeline.mining.positives import select_positives
from pipeline.mining.queries import Queries, build_queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from tests.support.oracle import mine, unit_vectors
from tests.unit.mining.backends.test_reference import BANDS
from tests.unit.mining.samples import assert_same, assert_same_triplets, queries_of

pytestmark = pytest.mark.skipif(compiled.unavailable_reason() is not None, reason=str(compiled.unavailable_reason()))
SETS = compiled.instruction_sets() if compiled.unavailable_reason() is None else ()


def a_shard(
    num: int, per_label: int, dim: int, noise: float, dtype: type[np.floating] = np.float32, seed: int = 0
) -> Shard:
    labels = (np.arange(num) // per_label).astype(np.int32)
    vectors = unit_vectors(np.random.default_rng(seed), labels, dim, noise).astype(dtype)
    return Shard(np.arange(num, dtype=np.int64) * 3 + 5, labels, vectors)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("band", BANDS)
def test_floors_narrow_bands_to_nothing_at_most(instruction_set: InstructionSet, band: BandConfig) -> None:
    shard = a_shard(400, 8, 16, 0.6)
    groups, vectors = LabelGroups(shard.ids_N, shard.labels_N), ShardedVectors([shard])
    pairs = select_positives(PositivesConfig(), vectors, groups, groups.anchors_A, 0)
    rng = np.random.default_rng(0)
    bounded = np.sort(rng.choice(shard.ids_N, 200, replace=False))
    min_distances = MinDistances(bounded, rng.uniform(0.0, 2.0, 200).astype(np.float32))
    queries = build_queries(pairs, vectors, groups, band, min_distances)
    found, _ = NativeScan(shard, instruction_set)(queries, 3)
    assert_same(found, scan(queries, shard, 3))
    assert (found.d_an_PM > min_distances.of(pairs.anchor_P)[:, None]).all()


@pytest.mark.parametrize("instruction_set", SETS)
@settings(max_examples=40)
@given(
    shard=st.builds(
        a_shard,
        num=st.integers(2, 1500),
        per_label=st.integers(2, 40),
        dim=st.sampled_from([1, 2, 16, 31, 33, 128, 130]),
        noise=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
        dtype=st.sampled_from([np.float32, np.float16]),
        seed=st.integers(0, 1000),
    ),
    band=st.sampled_from(BANDS),
    num_negatives=st.integers(1, 5),
    num_positives=st.sampled_from([None, 1, 4]),
)
def test_every_instruction_set_answers_as_the_reference_does(
    instruction_set: InstructionSet,
    shard: Shard,
    band: BandConfig,
    num_negatives: int,
    num_positives: int | None,
) -> None:
    queries = queries_of(shard, band, PositivesConfig(max_per_anchor=num_positives))
    found, handed_on = NativeScan(shard, instruction_set)(queries, num_negatives)
    assert handed_on == 0
    assert_same(found, scan(queries, shard, num_negatives))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("noise", [0.5, 8.0])
def test_an_untrained_encoder_costs_time_but_no_answer(instruction_set: InstructionSet, noise: float) -> None:
    """Many candidates are closer together than bfloat16 can tell: the scan multiplies more finely, or looks again."""
    shard = a_shard(9000, 12, 128, noise)
    queries = queries_of(shard, BandConfig(), PositivesConfig(policy="random", num_per_anchor=2))
    some = Queries(queries.labels_A[:70], queries.vectors_AD[:70], queries.row_P[:140], *bounds(queries, 140))
    assert_same(NativeScan(shard, instruction_set)(some, 2)[0], scan(some, shard, 2))


@pytest.mark.parametrize("instruction_set", SETS)
def test_an_anchor_may_have_more_pairs_than_a_sum_is_compared_with(instruction_set: InstructionSet) -> None:
    """Beyond 128, neighbouring intervals are compared as one."""
    shard = a_shard(700, 2, 20, 1.0)
    row_P = np.repeat([0, 1, 2], [500, 1, 129])
    lower_P = np.random.default_rng(0).uniform(0.5, 3.0, len(row_P)).astype(np.float32)
    queries = Queries(shard.labels_N[:3], shard.vectors_ND[:3], row_P, lower_P, lower_P + np.float32(0.01))
    found, _ = NativeScan(shard, instruction_set)(queries, 2)
    assert found.found_PM.any()
    assert_same(found, scan(queries, shard, 2))


def bounds(queries: Queries, num: int) -> tuple[np.ndarray, np.ndarray]:
    return queries.lower_P[:num], queries.upper_P[:num]


@pytest.mark.parametrize("band", BANDS, ids=lambda band: str(band.mode))
def test_one_two_and_eight_shards_give_the_same_bits(band: BandConfig) -> None:
    labels = np.random.default_rng(5).integers(0, 300, 5000).astype(np.int32)
    vectors = unit_vectors(np.random.default_rng(6), labels, 32, 1.0)
    vectors[100:140] = vectors[60:100]  # exact ties across labels
    config = MiningConfig(backend="native", band=band, negatives_per_pair=3)
    whole = mine(config, vectors, labels, 1, anchors_per_block=5000)
    for num_shards in (2, 8):
        assert_same_triplets(mine(config, vectors, labels, num_shards, anchors_per_block=333), whole)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 50.0, 1e12])
def test_vectors_of_any_length_are_answered(instruction_set: InstructionSet, scale: float) -> None:
    shard = a_shard(300, 5, 24, 0.5)
    lengths = np.random.default_rng(1).uniform(0.1, 1.0, (300, 1)) * scale
    shard = Shard(shard.ids_N, shard.labels_N, (shard.vectors_ND * lengths).astype(np.float32))
    queries = queries_of(shard, BandConfig(mode="positive_aware", ratio=1.0), PositivesConfig())
    assert_same(NativeScan(shard, instruction_set)(queries, 2)[0], scan(queries, shard, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_vectors_that_have_no_distance_are_refused(bad: float, dtype: type[np.floating]) -> None:
    shard = a_shard(50, 5, 8, 0.5, dtype)
    vectors = shard.vectors_ND.copy()
    with np.errstate(over="ignore"):
        vectors[17, 3] = bad
    with pytest.raises(InputError, match="vector 17"):
        NativeScan(Shard(shard.ids_N, shard.labels_N, vectors))
    queries = queries_of(shard, BandConfig(), PositivesConfig())
    broken = Queries(queries.labels_A, vectors, queries.row_P, queries.lower_P, queries.upper_P)
    with pytest.raises(InputError, match="vector 17"):
        NativeScan(shard)(broken, 1)


def test_anchors_of_another_dimension_or_type_are_refused() -> None:
    shard, other = a_shard(50, 5, 8, 0.5), a_shard(50, 5, 9, 0.5)
    queries = queries_of(other, BandConfig(), PositivesConfig())
    with pytest.raises(InputError, match="dimensions"):
        NativeScan(shard)(queries, 1)
    with pytest.raises(InputError, match="float64"):
        NativeScan(Shard(shard.ids_N, shard.labels_N, shard.vectors_ND.astype(np.float64)))


def test_nothing_to_search_and_nothing_asked_are_fine() -> None:
    shard = a_shard(20, 5, 8, 0.5)
    queries = queries_of(shard, BandConfig(), PositivesConfig())
    empty = Shard(shard.ids_N[:0], shard.labels_N[:0], shard.vectors_ND[:0])
    assert not NativeScan(empty)(queries, 3)[0].found_PM.any()
    nothing = Queries(queries.labels_A[:0], queries.vectors_AD[:0], queries.row_P[:0], *bounds(queries, 0))
    assert NativeScan(shard)(nothing, 3)[0].id_PM.shape == (0, 3)


def test_a_native_scan_that_is_asked_for_and_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.mining.backends.native._native", None)
    with pytest.raises(InputError, match="C compiler"):
        compiled.import_native()


def test_the_best_instruction_set_is_taken() -> None:
    assert NativeScan(a_shard(20, 5, 8, 0.5)).instruction_set == SETS[-1]
    with pytest.raises(InputError, match="no sse9"):
        NativeScan(a_shard(20, 5, 8, 0.5), "sse9")  # type: ignore[arg-type]
