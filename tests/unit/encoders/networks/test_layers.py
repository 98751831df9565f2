import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.encoders.networks.layers import L2Pool, Maxout


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31))
def test_l2_pool_is_the_norm_of_each_window_of_the_padded_map(height: int, width: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, 3, height, width))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.sqrt((windows**2).sum(axis=(-1, -2)))
    np.testing.assert_allclose(L2Pool()(torch.from_numpy(x)).numpy(), expected, rtol=1e-6, atol=2e-6)


def test_l2_pool_has_a_finite_gradient_where_a_whole_window_is_zero() -> None:
    x = torch.zeros(1, 1, 6, 6)
    x[0, 0, 0, 0] = 2.0
    x.requires_grad_()
    L2Pool()(x).sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0, 0, 0] == 4.0  # four windows hold it, and nothing else
    assert (x.grad[0, 0, 2:, 2:] == 0).all()
    assert x.grad.isfinite().all()


def test_maxout_takes_the_larger_of_two_linear_maps_of_a_unit() -> None:
    layer = Maxout(2, 3, pieces=2)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, 2], [1, 1], [0, 0]]))
        layer.linear.bias.copy_(torch.tensor([0.0, 0, 0, -1, 0, 0.5]))
        output = layer(torch.tensor([[2.0, 3.0], [-2.0, 0.5]]))
    assert output.tolist() == [[2.0, 5.0, 5.0], [2.0, 0.5, 0.5]]
