import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.mining.distance import approximate_distances, error_bound, squared_distances, squared_norms


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 2**32), st.sampled_from([1e-3, 1.0, 50.0]))
def test_a_product_is_within_its_error_bound_of_the_defined_distance(
    dim: int, num: int, seed: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    a = (scale * rng.normal(size=(num, dim))).astype(np.float32)
    c = np.concatenate([a[: num // 2], (scale * rng.normal(size=(num, dim))).astype(np.float32)])
    approximate = approximate_distances(a, squared_norms(a), c, squared_norms(c))
    bound = error_bound(dim, squared_norms(a), squared_norms(c))
    for row, vector in enumerate(a):
        exact = squared_distances(np.broadcast_to(vector, c.shape), c)
        assert np.abs(approximate[row] - exact).max() <= bound


def test_a_distance_depends_on_its_two_vectors_alone() -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=(70_001, 37)).astype(np.float16) for _ in range(2))
    whole = squared_distances(x, y)
    for rows in (slice(0, 1), slice(5, 12), slice(32_760, 32_780), slice(70_000, 70_001)):
        np.testing.assert_array_equal(whole[rows], squared_distances(x[rows], y[rows]))
        np.testing.assert_array_equal(whole[rows], squared_distances(np.asfortranarray(x)[rows], y[rows]))
