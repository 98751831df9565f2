"""Native code never crashes, whatever it is given. `make test-native` runs this against a build with sanitizers."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.mining.backends.native import compiled
from pipeline.mining.backends.native.ladder import list_steps
from pipeline.mining.backends.native.search import NativeScan
from pipeline.mining.backends.reference import scan
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard

pytestmark = pytest.mark.skipif(compiled.unavailable_reason() is not None, reason=str(compiled.unavailable_reason()))
NUM_EXAMPLES = int(os.environ.get("MOTHERLODE_FUZZ_EXAMPLES", "60"))

SPAN, ROUNDING_BYTES = 16384, 64


@settings(max_examples=NUM_EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_shard_and_any_question_is_answered_or_refused(data: st.DataObject) -> None:
    """Sizes around every block boundary, repeated vectors, zeros, extremes, any intervals that ascend."""
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.sampled_from([0, 1, 15, 16, 17, 31, 32, 33, 63, 65, 511, 512, 513, 1025, 4097]))
    a = draw(st.sampled_from([0, 1, 15, 16, 17, 33, 65, 1025]))
    d = draw(st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 64, 127, 128, 129]))
    m = draw(st.sampled_from([1, 2, 7]))
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    scale = draw(st.sampled_from([0.0, 1e-30, 1.0, 100.0]))
    vectors = (rng.normal(size=(max(n, a, 1), d)) * scale).astype(dtype)
    if draw(st.booleans()):
        vectors[:, 0] *= 100  # one huge dimension
    if draw(st.booleans()):
        sized = vectors * np.exp(rng.normal(size=(len(vectors), 1)) * 3)  # norms of any size
        vectors = np.clip(sized, -6e4, 6e4).astype(dtype)
    if draw(st.booleans()):
        vectors[:] = vectors[rng.integers(0, min(3, len(vectors)), len(vectors))]
    labels = rng.integers(0, draw(st.sampled_from([1, 3, 1000])), len(vectors)).astype(np.int32)
    shard = Shard(np.sort(rng.choice(10**9, n, replace=False)), labels[:n], vectors[:n])
    pairs_A = rng.integers(0, draw(st.sampled_from([1, 2, 5, 40])), a)
    row_P = np.repeat(np.arange(a), pairs_A)
    start_P = rng.normal(size=len(row_P)).astype(np.float32) * np.float32(scale * d)
    width = np.float32(draw(st.sampled_from([0.0, 0.1, 10.0, np.inf])))
    lower_P = start_P if draw(st.booleans()) else np.full(len(row_P), -np.inf, np.float32)
    queries = Queries(labels[:a], vectors[:a], row_P, lower_P, (start_P + width).astype(np.float32))
    search = draw(any_search(shard))
    found, _ = search(queries, m)
    if n * len(row_P) < 2e6:
        np.testing.assert_array_equal(found.id_PM, scan(queries, shard, m).id_PM)


@st.composite
def any_search(draw: st.DrawFn, shard: Shard) -> NativeScan:
    """A search as it is opened, or by one step of the ladder alone, also of instruction sets that are not here."""
    if draw(st.booleans()):
        return NativeScan(shard, draw(st.sampled_from(compiled.instruction_sets())))
    in_software = len(shard) < 100 and draw(st.booleans())
    kernels = [
        kernel
        for kernel in compiled.all_kernels()
        if (not kernel.is_float if in_software else kernel.instruction_set in compiled.instruction_sets())
    ]
    step = draw(st.sampled_from(list_steps(kernels, shard.vectors_ND.shape[1])))
    return NativeScan(shard, step.kernel.instruction_set, (step.kernel.element, step.num_dims), in_software)


PORTABLE = 0  # the kernel that every processor has


def scan_arguments(n: int, a: int, d: int, p: int, m: int) -> list[object]:
    """What the module takes: ``n`` candidates and ``a`` anchors of ``d`` dimensions, ``p`` pairs, ``m`` negatives."""
    return [
        np.zeros((n, d), np.float32),
        np.arange(n),
        np.zeros(n, np.int32),
        np.zeros((a, d), np.float32),
        np.ones(a, np.int32),
        np.linspace(0, p, a + 1).astype(np.int64),
        np.zeros(p, np.float32),
        np.ones(p, np.float32),
        np.zeros(0, np.int8),
        np.zeros((-(-n // SPAN), ROUNDING_BYTES // 8)),
        np.zeros(0, np.int8),
        np.zeros((a, ROUNDING_BYTES // 8)),
        np.full((p, m), np.inf, np.float32),
        np.full((p, m), 2**62),
        *(n, a, d, m, d, 0, 0.0, 1.0, False, PORTABLE, False, True),
    ]


@settings(max_examples=NUM_EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_arrays_that_do_not_go_together_are_refused(data: st.DataObject) -> None:
    """The module checks what the Python in front of it has checked already."""
    draw = data.draw
    arguments = scan_arguments(40, 7, 16, 9, 2)
    module = compiled.import_native()
    assert module.scan(*arguments)[0] == 40, "unspoilt, they are taken"
    place = draw(st.sampled_from([place for place in range(24) if place not in (20, 21)]))
    broken = list(arguments)
    if place < 14:
        flat = np.asarray(arguments[place]).ravel()
        change = draw(st.sampled_from(["short", "long", "empty"]))
        longer = np.concatenate([flat, np.zeros(1, flat.dtype)])
        other = {"short": flat[:-1], "long": longer, "empty": flat[:0]}[change]
        if len(other) == len(flat):
            other = longer
        broken[place] = np.ascontiguousarray(other)
    elif place < 20:
        values = st.sampled_from([-1, 0, 1, 3, 41, 2**31, 2**40, 2**62])
        broken[place] = draw(values.filter(lambda x: x != arguments[place] and not (place == 19 and 0 <= x <= 40)))
    elif place == 22:
        broken[place] = True
    else:
        broken[place] = draw(st.sampled_from([-1, 99, 2**30]))
    with pytest.raises((ValueError, OverflowError, MemoryError)):
        module.scan(*broken)


def test_roundings_that_are_no_numbers_are_refused() -> None:
    for place in (9, 11):
        arguments = scan_arguments(40, 7, 16, 9, 2)
        np.asarray(arguments[place])[0, 3] = np.nan
        with pytest.raises(ValueError, match="finite"):
            compiled.import_native().scan(*arguments)


@pytest.mark.parametrize("change", [{0: 0}, {1: -1}, {2: 0}, {4: 0}, {5: 0.5}, {5: 128.0}, {7: 4}], ids=str)
def test_rounding_that_does_not_go_together_is_refused(change: dict[int, float]) -> None:
    q, roundings = np.zeros((9, 4), np.int8), np.zeros((9, 8))
    arguments: list[object] = [np.zeros((9, 4), np.float32), 9, 4, False, 1, 127.0, 1e9, 1, 1, False, q, roundings]
    compiled.import_native().quantise(*arguments)
    for place, value in change.items():
        arguments[place] = np.zeros(3, np.float32) if place == 0 else value
    with pytest.raises(ValueError, match="sizes"):
        compiled.import_native().quantise(*arguments)


@pytest.mark.parametrize("first_pair", [[1, 5, 9], [0, 9, 8], [0, -1, 9], [0, 2**62, 9], [-(2**63), 0, 9]], ids=str)
def test_pairs_that_point_outside_are_refused(first_pair: list[int]) -> None:
    arguments = scan_arguments(2, 2, 4, 9, 1)
    arguments[5] = np.array(first_pair)
    with pytest.raises(ValueError, match="first_pair"):
        compiled.import_native().scan(*arguments)


def test_bounds_that_do_not_ascend_are_refused() -> None:
    arguments = scan_arguments(1, 1, 4, 2, 1)
    arguments[7] = np.array([2.0, 2.0], np.float32)
    for lower in ([1.0, 0.5], [np.nan, 1.0]):
        arguments[6] = np.array(lower, np.float32)
        with pytest.raises(ValueError, match="ascend"):
            compiled.import_native().scan(*arguments)
