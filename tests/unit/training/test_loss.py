from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance  # type: ignore[import-untyped]
from pytorch_metric_learning.losses import TripletMarginLoss  # type: ignore[import-untyped]
from pytorch_metric_learning.miners import BatchEasyHardMiner, TripletMarginMiner  # type: ignore[import-untyped]
from pytorch_metric_learning.reducers import AvgNonZeroReducer  # type: ignore[import-untyped]
from torch import Tensor

from pipeline.config import BandConfig, LossConfig
from pipeline.config.training import Selection
from pipeline.training import loss as loss_module
from pipeline.training.loss import Objective, select, squared_distances
from tests.unit.training.samples import unit_vectors

SELECTIONS: tuple[Selection, ...] = get_args(Selection)
BAND = BandConfig(mode="positive_aware", ratio=1.25, offset=0.25)
MARGIN = 0.5

Rows = list[tuple[int, int, int]]


def wanted(
    d: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], selection: Selection, num_new: int | None = None
) -> Rows:
    """The definitions, triplet by triplet; of negatives that are equally near, the first.

    Where only the first ``num_new`` vectors are new, triplets of old ones alone do not count.
    """
    found = []
    for a in range(len(d)):
        for p in np.flatnonzero((labels == labels[a]) & (np.arange(len(d)) != a)).tolist():
            lowest = {"semi_hard": d[a, p], "band": d[a, p], "positive_aware": 1.25 * d[a, p] + 0.25}
            negatives = np.flatnonzero(labels != labels[a])
            if num_new is not None and min(a, p) >= num_new:
                negatives = negatives[negatives < num_new]
            if selection in lowest:
                negatives = negatives[d[a, negatives] > lowest[selection]]
            if selection == "band":
                negatives = negatives[d[a, negatives] < d[a, p] + MARGIN]
            elif selection != "all" and len(negatives):
                negatives = negatives[[np.argmin(d[a, negatives])]]
            found += [(a, p, n) for n in negatives.tolist()]
    return found


def loss_of(name: str, d_ap: float, d_an: float, config: LossConfig) -> float:
    if name == "hinge":
        return max(d_ap - d_an + config.margin, 0.0)
    if name == "soft_margin":
        return float(np.log1p(np.exp(d_ap - d_an)))
    if d_an < d_ap:
        return config.hard_weight * (1.0 - d_an / 2.0)
    return float(np.log1p(np.exp((d_ap - d_an) / (2.0 * config.temperature))))


def listed(rows: Tensor) -> set[tuple[int, ...]]:
    assert len({tuple(row) for row in rows.tolist()}) == len(rows)
    return {tuple(row) for row in rows.tolist()}


def brute_distances(x: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    distances: npt.NDArray[np.float64] = ((x[:, None].astype(np.float64) - x[None]) ** 2).sum(-1)
    return distances


BATCHES = {"num": st.integers(1, 14), "num_labels": st.integers(1, 5), "seed": st.integers(0, 2**31)}


@pytest.mark.parametrize("selection", SELECTIONS)
@settings(max_examples=50)
@given(**BATCHES)
def test_a_selection_takes_the_triplets_of_its_definition_and_no_others(
    num: int, num_labels: int, seed: int, selection: Selection
) -> None:
    rng = np.random.default_rng(seed)
    # Quarters are exact in float32: ties, and distances on the very edge of a band, are frequent.
    d = np.triu(rng.integers(0, 17, (num, num)) / 4.0, 1).astype(np.float32)
    d += d.T
    labels = rng.integers(0, num_labels, num)
    found = select(torch.from_numpy(d), torch.from_numpy(labels), selection, MARGIN, BAND)
    expected = wanted(d, labels, selection)
    if selection in ("band", "all"):
        assert listed(found) == set(expected)
    else:  # of equally near negatives any will do
        assert sorted((a, p, float(d[a, n])) for a, p, n in found.tolist()) == sorted(
            (a, p, float(d[a, n])) for a, p, n in expected
        )
        assert all(labels[a] != labels[n] for a, _, n in found.tolist())


def test_the_band_of_positive_aware_is_that_of_mining_and_touches_no_other_selection() -> None:
    d = torch.tensor([[0.0, 0.4, 0.5, 0.7, 0.9]] * 5)
    labels = torch.tensor([0, 0, 1, 2, 3])
    bands = {
        2: BandConfig(),
        3: BandConfig(offset=0.2),
        4: BandConfig(ratio=2.0),
        None: BandConfig(ratio=2.0, offset=4),
    }
    for negative, band in bands.items():
        rows = select(d, labels, "positive_aware", 0.2, band).tolist()
        assert [n for a, p, n in rows if (a, p) == (0, 1)] == ([] if negative is None else [negative])
        assert [0, 1, 2] in select(d, labels, "semi_hard", 0.2, band).tolist()


@pytest.mark.parametrize("name", ["hinge", "soft_margin", "selectively_contrastive"])
@settings(max_examples=40)
@given(**BATCHES, selection=st.sampled_from(SELECTIONS))
def test_the_loss_is_the_mean_over_the_selected_triplets_whose_loss_is_not_zero(
    num: int, num_labels: int, seed: int, selection: Selection, name: str
) -> None:
    x = unit_vectors(seed, num)
    labels = np.random.default_rng(seed).integers(0, num_labels, num)
    config = LossConfig(name=name, margin=MARGIN)
    result = Objective(config, BAND)(torch.from_numpy(x), torch.from_numpy(labels), selection)
    d = brute_distances(x)
    rows = wanted(d, labels, selection)
    losses = [loss_of(name, d[a, p], d[a, n], config) for a, p, n in rows]
    counted = [loss for loss in losses if loss != 0.0]
    num_active = sum(d[a, p] - d[a, n] + MARGIN > 0 for a, p, n in rows)
    assert float(result.loss) == pytest.approx(np.mean(counted) if counted else 0.0, rel=1e-9)
    assert (result.num_triplets, result.num_active) == (len(rows), num_active)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_looking_at_few_pairs_at_a_time_changes_nothing(selection: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    distances = squared_distances(torch.from_numpy(unit_vectors(0, 24)))
    labels = torch.arange(24) % 5
    at_once = select(distances, labels, selection, MARGIN, BAND)
    for rows in (1, 7, len(at_once)):
        monkeypatch.setattr(loss_module, "_ROWS_AT_ONCE", rows)
        assert torch.equal(select(distances, labels, selection, MARGIN, BAND), at_once)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", ["hinge", "soft_margin", "selectively_contrastive"])
def test_a_batch_without_a_triplet_has_no_loss_and_a_zero_gradient(name: str, selection: Selection) -> None:
    x = torch.eye(3, requires_grad=True)
    for labels in (torch.zeros(3, dtype=torch.int64), torch.arange(3)):
        result = Objective(LossConfig(name=name), BAND)(x, labels, selection)
        assert float(result.loss.detach()) == result.num_triplets == result.num_active == 0.0
        x.grad = None
        result.loss.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None and (x.grad == 0).all()


def test_listed_triplets_count_alone_and_the_gradient_pulls_and_pushes() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 2])
    result = Objective(LossConfig(), BAND)(x, labels, "all", torch.tensor([[0, 1, 2]]))
    assert (result.num_triplets, result.num_active) == (1, 1)
    assert float(result.loss.detach()) == pytest.approx(2.0 - 0.4 + 0.2)
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([[1.6, -0.8], [-2.0, 0.0], [2.0, 0.0], [0.0, 0.0]]))


def test_a_loss_of_ones_own_is_averaged_like_the_others() -> None:
    x, labels = torch.from_numpy(unit_vectors(3, 12)), torch.arange(12) % 3
    config = LossConfig(name="tests.unit.training.samples:squared_hinge", margin=MARGIN)
    d = brute_distances(x.numpy())
    squares = [max(d[a, p] - d[a, n] + MARGIN, 0.0) ** 2 for a, p, n in wanted(d, labels.numpy(), "all")]
    assert float(Objective(config, BAND)(x, labels, "all").loss) == pytest.approx(np.mean([s for s in squares if s]))


def test_distances_in_float32_are_never_negative_and_right_to_rounding() -> None:
    x = unit_vectors(1, 40).astype(np.float32)
    x[7] = x[3]
    distances = squared_distances(torch.from_numpy(x))
    assert float(distances.min()) == 0.0
    np.testing.assert_allclose(distances, brute_distances(x), atol=1e-6)


# What follows holds us to pytorch-metric-learning, an implementation by others. It has no miner that pairs every
# positive with its nearest negative beyond it; two of its miners, taken together, name such negatives.


def batch_of_others(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    raw = torch.from_numpy(np.random.default_rng(seed).normal(size=(40, 5))).to(dtype).requires_grad_()
    labels = torch.arange(40) % 9
    return raw, labels, squared_distances(F.normalize(raw.detach(), dim=1))


@pytest.mark.parametrize("seed", range(3))
def test_all_and_band_are_the_triplets_of_pytorch_metric_learning(seed: int) -> None:
    raw, labels, distances = batch_of_others(seed)
    violated = TripletMarginMiner(margin=100.0, type_of_triplets="all", distance=LpDistance(power=2))
    semi_hard = TripletMarginMiner(margin=MARGIN, type_of_triplets="semihard", distance=LpDistance(power=2))
    miners: dict[Selection, TripletMarginMiner] = {"all": violated, "band": semi_hard}
    for selection, miner in miners.items():
        theirs = torch.stack(miner(raw, labels), dim=1)
        assert len(theirs) and listed(select(distances, labels, selection, MARGIN, BAND)) == listed(theirs)


@pytest.mark.parametrize("seed", range(3))
def test_hard_and_semi_hard_negatives_are_those_of_pytorch_metric_learning(seed: int) -> None:
    raw, labels, distances = batch_of_others(seed)
    for positive in ("easy", "hard"):
        miner = BatchEasyHardMiner(pos_strategy=positive, neg_strategy="semihard", distance=LpDistance(power=2))
        anchor, positive_row, _, negative = miner(raw, labels)
        theirs = listed(torch.stack([anchor, positive_row, negative], dim=1))
        ours = listed(select(distances, labels, "semi_hard", MARGIN, BAND))
        positives = dict(zip(anchor.tolist(), positive_row.tolist(), strict=True))
        assert theirs and {row for row in ours if positives.get(row[0]) == row[1]} == theirs
    miner = BatchEasyHardMiner(pos_strategy="all", neg_strategy="hard", distance=LpDistance(power=2))
    anchor, positive_row, anchor_again, negative = miner(raw, labels)
    nearest = dict(zip(anchor_again.tolist(), negative.tolist(), strict=True))
    theirs = {(a, p, nearest[a]) for a, p in zip(anchor.tolist(), positive_row.tolist(), strict=True)}
    assert listed(select(distances, labels, "hard", MARGIN, BAND)) == theirs


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", ["hinge", "soft_margin"])
def test_loss_and_gradient_are_those_of_pytorch_metric_learning(
    name: str, selection: Selection, dtype: torch.dtype
) -> None:
    raw, labels, distances = batch_of_others(0, dtype)
    rows = select(distances, labels, selection, MARGIN, BAND)
    ours = Objective(LossConfig(name=name, margin=MARGIN), BAND)(F.normalize(raw, dim=1), labels, selection)
    theirs = TripletMarginLoss(
        margin=0.0 if name == "soft_margin" else MARGIN,
        smooth_loss=name == "soft_margin",
        distance=LpDistance(power=2, normalize_embeddings=True),
        reducer=AvgNonZeroReducer(),
    )(raw, labels, tuple(rows.unbind(dim=1)))
    assert len(rows) == ours.num_triplets > 0
    assert float(ours.loss.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    (our_gradient,), (their_gradient,) = torch.autograd.grad(ours.loss, raw), torch.autograd.grad(theirs, raw)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-5)
    assert float(our_gradient.abs().max()) > 1e-3
