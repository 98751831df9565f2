"""Native code never crashes, whatever it is given. `make test-native` runs this against a build with sanitizers."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.mining.backends import native
from pipeline.mining.backends.reference import scan
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard

pytestmark = pytest.mark.skipif(native.unavailable_reason() is not None, reason=str(native.unavailable_reason()))
SETS = native.instruction_sets() if native.unavailable_reason() is None else ()
NUM_EXAMPLES = int(os.environ.get("MOTHERLODE_FUZZ_EXAMPLES", "60"))

SPAN_BYTES, SPAN = 40, 4096


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
        vectors[:] = vectors[rng.integers(0, min(3, len(vectors)), len(vectors))]
    labels = rng.integers(0, draw(st.sampled_from([1, 3, 1000])), len(vectors)).astype(np.int32)
    shard = Shard(np.sort(rng.choice(10**9, n, replace=False)), labels[:n], vectors[:n])
    pairs_A = rng.integers(0, draw(st.sampled_from([1, 2, 5, 40])), a)
    row_P = np.repeat(np.arange(a), pairs_A)
    start_P = rng.normal(size=len(row_P)).astype(np.float32) * np.float32(scale * d)
    width = np.float32(draw(st.sampled_from([0.0, 0.1, 10.0, np.inf])))
    lower_P = start_P if draw(st.booleans()) else np.full(len(row_P), -np.inf, np.float32)
    queries = Queries(labels[:a], vectors[:a], row_P, lower_P, (start_P + width).astype(np.float32))
    search = native.NativeScan(shard, draw(st.sampled_from(SETS)))
    found, _ = search(queries, m)
    if n * len(row_P) < 2e6:
        np.testing.assert_array_equal(found.id_PM, scan(queries, shard, m).id_PM)


def scan_arguments(n: int, a: int, d: int, p: int, m: int) -> list[object]:
    """What the module takes: ``n`` candidates and ``a`` anchors of ``d`` dimensions, ``p`` pairs, ``m`` negatives."""
    return [
        np.zeros((n, d), np.float32),
        np.arange(n),
        np.zeros(n, np.int32),
        bytes(SPAN_BYTES * (-(-n // SPAN))),
        np.zeros((a, d), np.float32),
        np.ones(a, np.int32),
        np.linspace(0, p, a + 1).astype(np.int64),
        np.zeros(p, np.float32),
        np.ones(p, np.float32),
        np.full((p, m), np.inf, np.float32),
        np.full((p, m), 2**62),
        *(n, a, d, m, False, 0, 0, True),
    ]


@settings(max_examples=NUM_EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_arrays_that_do_not_go_together_are_refused(data: st.DataObject) -> None:
    """The module checks what the Python in front of it has checked already."""
    draw = data.draw
    arguments = scan_arguments(40, 7, 16, 9, 2)
    module = native.import_native()
    assert module.scan(*arguments)[2] > 0, "unspoilt, they are taken"
    place = draw(st.integers(0, 16))
    arguments[17] = draw(st.sampled_from([-5, 0, 1, 40]))  # only whether it is zero counts
    broken = list(arguments)
    if place < 11:
        array = np.zeros(SPAN_BYTES // 8) if place == 3 else np.asarray(arguments[place])
        change = draw(st.sampled_from(["short", "long", "empty"]))
        flat = array.ravel()
        other = {"short": flat[:-1], "long": np.concatenate([flat, flat[:1]]), "empty": flat[:0]}[change]
        broken[place] = other.tobytes() if place == 3 else np.ascontiguousarray(other)
    elif place < 15:
        broken[place] = draw(
            st.sampled_from([-1, 0, 1, 3, 2**31, 2**40, 2**62]).filter(lambda x: x != arguments[place])
        )
    elif place == 15:
        broken[15] = True
    else:
        broken[16] = draw(st.sampled_from([-1, 4, 99]))
    with pytest.raises((ValueError, OverflowError, MemoryError)):
        module.scan(*broken)


@pytest.mark.parametrize("first_pair", [[1, 5, 9], [0, 9, 8], [0, -1, 9], [0, 2**62, 9], [-(2**63), 0, 9]], ids=str)
def test_pairs_that_point_outside_are_refused(first_pair: list[int]) -> None:
    arguments = scan_arguments(2, 2, 4, 9, 1)
    arguments[6] = np.array(first_pair)
    with pytest.raises(ValueError, match="first_pair"):
        native.import_native().scan(*arguments)


def test_bounds_that_do_not_ascend_are_refused() -> None:
    arguments = scan_arguments(1, 1, 4, 2, 1)
    arguments[8] = np.array([2.0, 2.0], np.float32)
    for lower in ([1.0, 0.5], [np.nan, 1.0]):
        arguments[7] = np.array(lower, np.float32)
        with pytest.raises(ValueError, match="ascend"):
            native.import_native().scan(*arguments)
