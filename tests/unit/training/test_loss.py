import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.loss import Selection, triplet_loss


def brute_force(x: np.ndarray, labels: np.ndarray, margin: float, selection: Selection) -> tuple[float, int, int]:
    """FaceNet's sum, triplet by triplet, in float64: mean over active, number of valid, number of active."""
    d = ((x[:, None].astype(np.float64) - x[None]) ** 2).sum(-1)
    losses, num_valid = [], 0
    for a in range(len(x)):
        for p in np.flatnonzero((labels == labels[a]) & (np.arange(len(x)) != a)):
            negatives = np.flatnonzero(labels != labels[a])
            if selection != "all":
                negatives = negatives[d[a, negatives] > d[a, p]]
            if selection == "semi_hard" and len(negatives):
                negatives = negatives[[np.argmin(d[a, negatives])]]
            num_valid += len(negatives)
            losses += [max(d[a, p] - d[a, n] + margin, 0.0) for n in negatives]
    active = [loss for loss in losses if loss > 1e-6]
    return float(np.mean(active)) if active else 0.0, num_valid, len(active)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 14), st.integers(1, 5), st.integers(0, 2**31), st.sampled_from(["all", "band", "semi_hard"]))
def test_the_loss_is_the_mean_over_active_triplets(num: int, num_labels: int, seed: int, selection: Selection) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 6))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    labels = rng.integers(0, num_labels, num)
    result = triplet_loss(torch.from_numpy(x), torch.from_numpy(labels), 0.5, selection)
    expected, _num_valid, num_active = brute_force(x, labels, 0.5, selection)
    assert float(result.loss) == pytest.approx(expected, abs=1e-4)
    assert abs(result.num_active - num_active) <= 1


def test_listed_triplets_count_alone_and_the_gradient_pulls_and_pushes() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 2])
    result = triplet_loss(x, labels, 0.2, "listed", torch.tensor([[0, 1, 2]]))
    assert (result.num_triplets, result.num_active) == (1, 1)
    assert float(result.loss.detach()) == pytest.approx(2.0 - 0.4 + 0.2)
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and (x.grad[3] == 0).all() and (x.grad[:3] != 0).any(dim=1).all()


@pytest.mark.parametrize("selection", ["all", "band", "semi_hard"])
def test_a_batch_without_a_triplet_has_no_loss_and_a_zero_gradient(selection: Selection) -> None:
    x = torch.eye(3, requires_grad=True)
    for labels in (torch.zeros(3, dtype=torch.int64), torch.arange(3)):
        result = triplet_loss(x, labels, 0.2, selection)
        assert float(result.loss.detach()) == 0.0 and result.active_share == 0.0
        x.grad = None
        result.loss.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None and torch.isfinite(x.grad).all() and (x.grad == 0).all()
