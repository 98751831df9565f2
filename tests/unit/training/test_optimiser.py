import math

import pytest
import torch
from torch import nn

from pipeline.config import OptimiserConfig
from pipeline.training.optimiser import Plateau, learning_rate, make_optimiser


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("adagrad", torch.optim.Adagrad),
    ],
)
def test_an_optimiser_is_the_one_that_the_config_names(name: str, kind: type[torch.optim.Optimizer]) -> None:
    config = OptimiserConfig.model_validate({"name": name, "learning_rate": 0.3, "weight_decay": 0.1, "momentum": 0.7})
    optimiser = make_optimiser(config, nn.Linear(2, 2).parameters())
    assert type(optimiser) is kind
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.3, 0.1, 2)
    assert group.get("momentum") == (0.7 if name == "sgd" else None)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = OptimiserConfig(learning_rate=0.1, warmup_steps=9)
    rates = [learning_rate(config, step, 100) for step in range(101)]
    for step, rate in enumerate(rates):
        cosine = 0.1 * 0.5 * (1.0 + math.cos(math.pi * step / 100))
        assert rate == pytest.approx(cosine * min(1.0, (step + 1) / 10), abs=1e-15)
    assert rates[0] == pytest.approx(0.01) and rates[100] == pytest.approx(0.0)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_other_schedules_keep_the_rate_after_the_warm_up(schedule: str) -> None:
    config = OptimiserConfig.model_validate({"learning_rate": 0.1, "warmup_steps": 3, "schedule": schedule})
    rates = [learning_rate(config, step, 100) for step in (0, 1, 2, 3, 77, 100)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_a_plateau_lowers_the_rate_when_rounds_no_longer_get_better() -> None:
    config = OptimiserConfig(schedule="plateau", plateau_factor=0.5, plateau_rounds=2)
    plateau, factors = Plateau(), []
    for active_share in (0.9, 0.8, 0.8, 0.85, 0.7, 0.75, 0.9, 0.9, 0.9):
        plateau.end_round(config, active_share)
        factors.append(plateau.factor)
    assert factors == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_other_schedules_know_no_plateau() -> None:
    plateau = Plateau()
    for _ in range(9):
        plateau.end_round(OptimiserConfig(plateau_rounds=1), 1.0)
    assert plateau == Plateau()
