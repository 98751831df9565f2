"""FaceNet's harmonic triplet loss: triplets of new and old vectors of one batch."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import BandConfig, LossConfig
from pipeline.config.training import Selection
from pipeline.training.loss import Objective, mixtures
from tests.unit.training.samples import unit_vectors
from tests.unit.training.test_loss import BAND, MARGIN, SELECTIONS, brute_distances, loss_of, wanted


@pytest.mark.parametrize("selection", SELECTIONS)
@settings(max_examples=25)
@given(num=st.integers(1, 9), num_labels=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_loss_is_that_of_all_triplets_with_a_new_member(
    num: int, num_labels: int, seed: int, selection: Selection
) -> None:
    new, old = (torch.from_numpy(unit_vectors(each, num)) for each in (seed, seed + 1))
    labels = np.random.default_rng(seed).integers(0, num_labels, num)
    config = LossConfig(margin=MARGIN)
    objective = Objective(config, BAND)
    result = objective(new, torch.from_numpy(labels), selection, old_BD=old)
    d = brute_distances(torch.cat([new, old]).numpy())
    rows = wanted(d, np.tile(labels, 2), selection, num_new=num)
    counted = [loss for a, p, n in rows if (loss := loss_of("hinge", d[a, p], d[a, n], config)) != 0.0]
    assert result.num_triplets == len(rows)
    assert float(result.loss) == pytest.approx(np.mean(counted) if counted else 0.0, rel=1e-9)


def test_listed_triplets_count_in_their_seven_mixtures_and_those_alone() -> None:
    seven = [[0, 1, 2], [0, 1, 5], [0, 4, 2], [0, 4, 5], [3, 1, 2], [3, 1, 5], [3, 4, 2]]
    assert mixtures(torch.tensor([[0, 1, 2]]), 3).tolist() == seven
    new, old = (torch.from_numpy(unit_vectors(seed, 3)) for seed in (0, 1))
    listed, labels = torch.tensor([[0, 1, 2], [1, 0, 2]]), torch.tensor([0, 0, 1])
    objective = Objective(LossConfig(name="soft_margin"), BandConfig())
    result = objective(new, labels, "all", listed, old)
    d = brute_distances(torch.cat([new, old]).numpy())
    rows = [
        tuple(row + 3 * is_old for row, is_old in zip(triplet, which, strict=True))
        for triplet in listed.tolist()
        for which in itertools.product((0, 1), repeat=3)
        if which != (1, 1, 1)
    ]
    assert result.num_triplets == len(rows) == 14
    assert float(result.loss) == pytest.approx(np.mean([np.log1p(np.exp(d[a, p] - d[a, n])) for a, p, n in rows]))


def test_the_old_vectors_get_no_gradient_and_every_new_one_finds_its_own() -> None:
    """One image of a label has no positive but its own old vector: that alone ties the spaces together."""
    objective = Objective(LossConfig(name="soft_margin"), BandConfig())
    labels, old = torch.arange(4), torch.from_numpy(unit_vectors(1, 4))
    new = torch.from_numpy(unit_vectors(2, 4))
    # Either way round, with both vectors of all others.
    assert objective(new, labels, "all", old_BD=old).num_triplets == 4 * 2 * 6
    for _ in range(100):
        new = F.normalize(new.detach(), dim=1).requires_grad_()
        objective(new, labels, "all", old_BD=old).loss.backward()  # type: ignore[no-untyped-call]
        assert new.grad is not None and old.grad is None
        new = new - new.grad
    distances = torch.cdist(F.normalize(new.detach(), dim=1), old)
    assert torch.equal(distances.argmin(dim=1), labels) and float(distances.diagonal().max()) < 0.5


def test_an_old_encoder_that_is_the_new_one_adds_no_force_of_its_own() -> None:
    """Where both agree, mixed triplets are as hard as new ones: the loss of the batch stays what it was."""
    new = torch.from_numpy(unit_vectors(3, 8))
    objective, labels = Objective(LossConfig(name="soft_margin"), BandConfig()), torch.arange(8) % 3
    (row,) = torch.nonzero(labels != labels[0])[:1]
    listed = torch.tensor([[0, 3, int(row)]])
    alone = objective(new, labels, "all", listed)
    both = objective(new, labels, "all", listed, new.clone())
    assert float(both.loss) == pytest.approx(float(alone.loss)) and both.num_triplets == 7 * alone.num_triplets
