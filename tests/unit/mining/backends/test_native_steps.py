"""Every product that the compiled scan may use proposes enough: each step alone, of every instruction set."""

import functools

import numpy as np
import pytest

from pipeline.config import BandConfig, PositivesConfig
from pipeline.mining.backends.native import compiled
from pipeline.mining.backends.native.filters import TAIL, PrincipalAxes, Rounder
from pipeline.mining.backends.native.ladder import InstructionSet, Kernel, Ladder, Step, list_steps
from pipeline.mining.backends.native.search import NativeScan
from pipeline.mining.backends.reference import scan
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest
from tests.support.oracle import unit_vectors
from tests.unit.mining.samples import assert_same, queries_of

pytestmark = pytest.mark.skipif(compiled.unavailable_reason() is not None, reason=str(compiled.unavailable_reason()))
KERNELS = compiled.all_kernels() if compiled.unavailable_reason() is None else []
HERE: tuple[InstructionSet, ...] = compiled.instruction_sets() if compiled.unavailable_reason() is None else ()
NUM_DIMS = 70


def steps(in_software: bool) -> list[Step]:
    kernels = [k for k in KERNELS if (not k.is_float if in_software else k.instruction_set in HERE)]
    return list_steps(kernels, NUM_DIMS)


CASES = [
    pytest.param(step, in_software, id=f"{step.kernel.instruction_set}-{step.name}{'-twin' if in_software else ''}")
    for in_software in (False, True)
    for step in steps(in_software)
]


def opened(shard: Shard, step: Step, in_software: bool) -> NativeScan:
    return NativeScan(shard, step.kernel.instruction_set, (step.kernel.element, step.num_dims), in_software)


def make_awkward(kind: str, num: int) -> Shard:
    """Vectors on which a bound could fail."""
    rng = np.random.default_rng(3)
    labels = (np.arange(num) // 4).astype(np.int32)
    x = unit_vectors(rng, labels, NUM_DIMS, 1.0)
    first = np.eye(NUM_DIMS)[0]
    changed = {
        "unit": x,
        "float16": x.astype(np.float16),
        "low rank": x[:, :9] @ rng.normal(size=(9, NUM_DIMS)) + 0.01 * x,
        "collapsed": x * 0.02 + first,
        "norms over e^9": x * np.exp(rng.normal(size=(num, 1)) * 3),
        "huge": x * 1e13,
        "tiny": x * 1e-17,
        "one huge dimension": x * (1.0 + 300.0 * first),
        "binary ties": np.sign(x) * (np.abs(x) > 0.1),
        "all equal": np.ones_like(x),
        "all zero": np.zeros_like(x),
    }[kind]
    vectors = changed if kind == "float16" else changed.astype(np.float32)
    return Shard(np.arange(num) * 2 + 1, labels, np.ascontiguousarray(vectors))


KINDS = "unit;float16;low rank;collapsed;norms over e^9;huge;tiny;one huge dimension;binary ties;all equal;all zero"


@functools.cache
def answered(num: int) -> list[tuple[str, Shard, Queries, int, Nearest]]:
    """Questions about every kind, and brute force's answers."""
    cases = []
    for kind in KINDS.split(";"):
        shard = make_awkward(kind, num)
        for band, positives, num_negatives in (
            (BandConfig(), PositivesConfig(), 1),
            (BandConfig(mode="hard"), PositivesConfig(policy="random"), 3),
        ):
            queries = queries_of(shard, band, positives)
            cases.append((kind, shard, queries, num_negatives, scan(queries, shard, num_negatives)))
    return cases


@pytest.mark.parametrize(("step", "in_software"), CASES)
def test_every_step_alone_answers_as_the_reference_does(step: Step, in_software: bool) -> None:
    for kind, shard, queries, num_negatives, expected in answered(60 if in_software else 420):
        found, _ = opened(shard, step, in_software)(queries, num_negatives)
        assert np.array_equal(found.id_PM, expected.id_PM), kind
        assert np.array_equal(found.d_an_PM, expected.d_an_PM), kind


@pytest.mark.parametrize(("step", "in_software"), CASES)
def test_survivors_of_one_tile_do_not_hide_one_another(step: Step, in_software: bool) -> None:
    """An earlier survivor moves the limits that the sums beside it were taken against."""
    num = 64
    x = unit_vectors(np.random.default_rng(0), np.arange(num, dtype=np.int32), NUM_DIMS, 0.0).astype(np.float32)
    near = np.linspace(0.9, 0.2, num - 1)[:, None].astype(np.float32)  # each nearer to the anchor than the one before
    x[1:] = (x[:1] + near * x[1:]) / np.linalg.norm(x[:1] + near * x[1:], axis=1, keepdims=True)
    shard = Shard(np.arange(num), np.arange(num, dtype=np.int32), x)
    lower, upper = np.array([-np.inf, 0.05, 0.3], np.float32), np.array([np.inf, np.inf, np.inf], np.float32)
    queries = Queries(shard.labels_N[:1], x[:1], np.zeros(3, np.int64), lower, upper)
    for order in (np.arange(num), np.r_[0, np.arange(num - 1, 0, -1)]):
        shuffled = Shard(np.arange(num), shard.labels_N[order], np.ascontiguousarray(x[order]))
        found, _ = opened(shuffled, step, in_software)(queries, 2)
        assert_same(found, scan(queries, shuffled, 2))


@pytest.mark.parametrize(
    "kernel",
    [kernel for kernel in KERNELS if not kernel.is_float and kernel.instruction_set in HERE],
    ids=lambda kernel: f"{kernel.instruction_set}-{kernel.element}",
)
def test_a_twin_in_software_looks_at_the_same_candidates(kernel: Kernel) -> None:
    shard = make_awkward("unit", 200)
    queries = queries_of(shard, BandConfig(), PositivesConfig())
    real, twin = (NativeScan(shard, kernel.instruction_set, (kernel.element, None), soft) for soft in (False, True))
    assert_same(real(queries, 2)[0], twin(queries, 2)[0])
    assert abs(real.num_looked_at - twin.num_looked_at) <= 0.02 * twin.num_looked_at  # tiles differ in when they look


def test_the_scan_climbs_where_a_coarse_product_looks_in_vain() -> None:
    labels = np.repeat(np.arange(2500, dtype=np.int32), 4)
    trained, untrained = (
        Shard(np.arange(10_000), labels, unit_vectors(np.random.default_rng(1), labels, 128, noise).astype(np.float32))
        for noise in (0.3, 4.0)
    )
    instruction_set = HERE[-1]
    names = []
    for shard in (trained, untrained):
        search = NativeScan(shard, instruction_set)
        queries = queries_of(shard, BandConfig(), PositivesConfig(policy="random"), 500)
        assert_same(search(queries, 1)[0], scan(queries, shard, 1))
        names.append(search.step_name(1))
    order = [step.name for step in list_steps([k for k in KERNELS if k.instruction_set == instruction_set], 128)]
    assert len(order) == 1 or order.index(names[0]) < order.index(names[1])


def test_a_ladder_only_climbs_and_the_last_step_is_never_given_up() -> None:
    ladder = Ladder(list_steps([k for k in KERNELS if k.instruction_set == "avx2"], 128), 0, {}, 0.001)
    seen = [ladder.number]
    while ladder.most_in_vain(ladder.number) < 1.0:
        ladder.climb(ladder.number)
        seen.append(ladder.number)
    assert seen == sorted(set(seen)) and ladder.step.kernel.element == "float32"
    before = ladder.number
    ladder.climb(before - 1)  # another block had climbed
    assert ladder.number == before


@pytest.mark.parametrize("instruction_set", HERE)
@pytest.mark.parametrize("num_dims", [512, 4096])
def test_a_duplicate_is_found_after_one_that_is_nearly_one(instruction_set: InstructionSet, num_dims: int) -> None:
    """The product of equal vectors is as large as products get, and its roundings come on top."""
    rng = np.random.default_rng(0)
    anchors, others, noise = (rng.normal(size=(num, num_dims)) for num in (64, 400, 64))
    vectors = np.concatenate([anchors + 8e-4 * noise, others, anchors, -anchors])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    shard = Shard(np.arange(len(vectors)), np.arange(len(vectors), dtype=np.int32), vectors)
    row_A, unbounded_A = np.arange(64), np.full(64, np.inf, np.float32)
    queries = Queries(np.full(64, -1, np.int32), vectors[464:528], row_A, -unbounded_A, unbounded_A)
    expected = scan(queries, shard, 1)
    assert (expected.id_PM[:, 0] == row_A + 464).all()
    for kernel in KERNELS:
        if kernel.instruction_set == instruction_set:
            assert_same(NativeScan(shard, instruction_set, (kernel.element, None))(queries, 1)[0], expected)


@pytest.mark.parametrize("num_dims", [16, 32, 64])
def test_filter_vectors_bound_distances(num_dims: int) -> None:
    """Against float64: products of rounded filter vectors are off by no more than what was measured allows."""
    x = make_awkward("low rank", 300).vectors_ND
    projection = PrincipalAxes.of(x).prefix(num_dims)
    quantise = compiled.import_native().quantise
    anchors, candidates = (
        Rounder(quantise, are_candidates, 127, 1e300, 1, 1, False).round_projected(projection, x)
        for are_candidates in (False, True)
    )
    scales = anchors.roundings_G8[:, :1] * candidates.roundings_G8[:, 0]
    product = anchors.q_NF.astype(np.float64) @ candidates.q_NF.astype(np.float64).T / scales
    exact = x.astype(np.float64)
    squared = ((exact[:, None] - exact[None]) ** 2).sum(axis=2)
    size_a, residual_a = anchors.roundings_G8[:, 1:2], anchors.roundings_G8[:, 2:3]
    size_c, residual_c = candidates.roundings_G8[0, 1], candidates.roundings_G8[0, 2]
    error = residual_a * (size_c + residual_c) + (size_a + residual_a) * residual_c
    error = error + projection.epsilon * (anchors.roundings_G8[:, 7:] + candidates.roundings_G8[:, 7]) ** 2
    wanted = anchors.roundings_G8[:, 5:6] + candidates.roundings_G8[:, 5] - squared / 2
    tails = 2 * anchors.roundings_G8[:, TAIL, None] * candidates.roundings_G8[:, TAIL]
    assert (product >= wanted - error).all()
    assert (product <= wanted + tails + error).all()


@pytest.mark.parametrize("num_dims", [16, 64])
def test_spans_of_other_norms_do_not_loosen_the_bound(num_dims: int) -> None:
    """Long vectors elsewhere in the shard stretch the norm's dimension for all, and so its roundings."""
    rng = np.random.default_rng(5)
    num = 16384 + 2000
    x = (rng.normal(size=(num, 9)) @ rng.normal(size=(9, NUM_DIMS))).astype(np.float32)
    x[16384:] *= 3000.0
    shard = Shard(np.arange(num), (np.arange(num) // 2).astype(np.int32), x)
    queries = queries_of(shard, BandConfig(mode="positive_aware"), PositivesConfig(policy="random"), 300)
    expected = scan(queries, shard, 2)
    for kernel in KERNELS:
        if kernel.element == "int8" and kernel.instruction_set in HERE and num_dims % kernel.piece == 0:
            search = NativeScan(shard, kernel.instruction_set, ("int8", num_dims))
            assert_same(search(queries, 2)[0], expected)
