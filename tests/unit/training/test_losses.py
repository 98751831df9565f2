import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.config import LossConfig
from pipeline.training.losses import LOSSES, TripletLoss, hinge, loss_function, selectively_contrastive, soft_margin
from tests.support.refusals import refusal
from tests.unit.training.samples import squared_hinge

Pairs = list[tuple[float, float]]
DISTANCE = st.floats(0.0, 4.0, allow_subnormal=False)
PAIRS = st.lists(st.tuples(DISTANCE, DISTANCE), min_size=1, max_size=20)


def columns(pairs: Pairs) -> tuple[Tensor, Tensor]:
    d_ap, d_an = torch.tensor(pairs, dtype=torch.float64).T.contiguous()
    return d_ap.requires_grad_(), d_an.requires_grad_()


def gradients(loss: TripletLoss, d_ap_T: Tensor, d_an_T: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    by_ap, by_an = torch.autograd.grad(loss(d_ap_T, d_an_T, config).sum(), (d_ap_T, d_an_T))
    return by_ap, by_an


@settings(max_examples=60)
@given(PAIRS, st.floats(0.01, 4.0))
def test_hinge_is_facenets_loss_and_teaches_active_triplets_alone(pairs: Pairs, margin: float) -> None:
    d_ap, d_an = columns(pairs)
    config = LossConfig(margin=margin)
    gaps = [ap - an + margin for ap, an in pairs]
    np.testing.assert_allclose(hinge(d_ap, d_an, config).detach(), np.maximum(gaps, 0.0), atol=1e-12)
    for gap, pull, push in zip(gaps, *gradients(hinge, d_ap, d_an, config), strict=True):
        assert float(pull) == -float(push)
        if abs(gap) > 1e-12:
            assert float(pull) == (1.0 if gap > 0 else 0.0)


@settings(max_examples=60)
@given(PAIRS)
def test_soft_margin_is_hermans_formula_and_always_pulls_and_pushes(pairs: Pairs) -> None:
    d_ap, d_an = columns(pairs)
    expected = [np.log1p(np.exp(ap - an)) for ap, an in pairs]
    np.testing.assert_allclose(soft_margin(d_ap, d_an, LossConfig()).detach(), expected, rtol=1e-12)
    by_ap, by_an = gradients(soft_margin, d_ap, d_an, LossConfig())
    assert (by_ap > 0).all() and (by_an < 0).all()


@settings(max_examples=60)
@given(PAIRS, st.floats(0.05, 2.0), st.floats(0.1, 3.0))
def test_selectively_contrastive_pushes_hard_negatives_and_pulls_only_where_none_is_nearer(
    pairs: Pairs, temperature: float, hard_weight: float
) -> None:
    d_ap, d_an = columns(pairs)
    config = LossConfig(temperature=temperature, hard_weight=hard_weight)
    found = selectively_contrastive(d_ap, d_an, config).detach()
    by_ap, by_an = gradients(selectively_contrastive, d_ap, d_an, config)
    for (ap, an), loss, pull, push in zip(pairs, found, by_ap, by_an, strict=True):
        s_ap, s_an = 1.0 - ap / 2.0, 1.0 - an / 2.0
        if an < ap:  # Xuan et al. 2020, equation 5: λ S_an
            assert float(loss) == pytest.approx(hard_weight * s_an)
            assert float(pull) == 0.0 and float(push) == pytest.approx(-hard_weight / 2.0)
        else:  # their equation 1: -log of the softmax over both similarities
            likelihood = -np.log(1.0 / (1.0 + np.exp((s_an - s_ap) / temperature)))
            assert float(loss) == pytest.approx(likelihood, abs=1e-12)
            assert float(pull) > 0.0 > float(push)


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_are_those_of_finite_differences(name: str) -> None:
    d_ap, d_an = columns([(0.3, 0.9), (0.5, 0.6), (1.5, 0.4), (0.2, 3.0)])
    assert torch.autograd.gradcheck(lambda ap, an: LOSSES[name](ap, an, LossConfig()), (d_ap, d_an))


def test_a_loss_of_ones_own_is_found_by_its_import_path() -> None:
    assert loss_function("hinge") is hinge
    assert loss_function("tests.unit.training.samples:squared_hinge") is squared_hinge


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("triplet", "use one of hinge, soft_margin, selectively_contrastive, or an import path"),
        ("tests.unit.training.samples:", "use one of"),
        ("no_such_package:loss", "No module named 'no_such_package'"),
        ("tests.unit.training.samples:no_such_loss", "no_such_loss"),
        ("tests.unit.training.samples:NOT_A_FUNCTION", "is a int"),
        (":loss", "cannot be imported"),
        (".samples:loss", "cannot be imported"),
    ],
)
def test_a_loss_that_is_not_there_is_refused_in_one_sentence(name: str, words: str) -> None:
    sentence = refusal(lambda: loss_function(name))
    assert words in sentence and repr(name) in sentence
