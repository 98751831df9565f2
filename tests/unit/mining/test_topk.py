import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.mining.topk import NO_ID, Nearest
from tests.unit.mining.samples import merge

FINDS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 9)), max_size=30)


def state(finds: list[tuple[int, float, int]], m: int) -> Nearest:
    # One id has one distance to a pair, as in life.
    known = {(row, id_): d for row, d, id_ in finds}
    nearest = Nearest.empty(4, m)
    rows = np.array([row for row, _ in known], dtype=np.int64)
    ids = np.array([id_ for _, id_ in known], dtype=np.int64)
    nearest.push(rows, np.array([(7 * row + 3 * id_) % 5 for row, id_ in known], dtype=np.float32), ids)
    return nearest


def same(a: Nearest, b: Nearest) -> bool:
    return bool((a.id_PM == b.id_PM).all() and (a.d_an_PM == b.d_an_PM).all())


@settings(max_examples=80)
@given(FINDS, FINDS, FINDS, st.integers(1, 4))
def test_merge_is_associative_commutative_and_idempotent(
    a: list[tuple[int, float, int]], b: list[tuple[int, float, int]], c: list[tuple[int, float, int]], m: int
) -> None:
    x, y, z = state(a, m), state(b, m), state(c, m)
    assert same(merge(x, y), merge(y, x))
    assert same(merge(merge(x, y), z), merge(x, merge(y, z)))
    assert same(merge(x, x), x)
    assert same(merge(x, y), state(a + b, m))


def test_ties_go_to_the_smaller_id_and_empty_places_stay_last() -> None:
    nearest = Nearest.empty(1, 3)
    nearest.push(np.array([0, 0]), np.array([0.5, 0.5], dtype=np.float32), np.array([8, 3]))
    np.testing.assert_array_equal(nearest.id_PM, [[3, 8, NO_ID]])
    assert np.isinf(nearest.d_an_PM[0, 2])
