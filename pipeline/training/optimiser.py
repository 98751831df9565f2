"""Optimisers and their learning rates."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipeline.config import OptimiserConfig

_OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
}


def make_optimiser(config: OptimiserConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that a config names."""
    options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        options["momentum"] = config.momentum
    return _OPTIMISERS[config.name](list(parameters), **options)


def learning_rate(config: OptimiserConfig, step: int, num_steps: int) -> float:
    """The rate of a step before any plateau: a pure function, so there is no scheduler state to save."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
    return rate * min(1.0, (step + 1) / (config.warmup_steps + 1))


@dataclass
class Plateau:
    """Lowers the rate when rounds no longer get better; the only schedule with a memory.

    What shall fall is the share of triplets that are active: the mean loss of those that are hardly moves.

    Attributes:
        factor: What the rate is multiplied by at present.
        best: The smallest active share of a round so far.
        num_bad_rounds: Rounds since.
    """

    factor: float = 1.0
    best: float = math.inf
    num_bad_rounds: int = 0

    def end_round(self, config: OptimiserConfig, active_share: float) -> None:
        """Takes note of a round."""
        if config.schedule != "plateau":
            return
        if active_share < self.best:
            self.best, self.num_bad_rounds = active_share, 0
            return
        self.num_bad_rounds += 1
        if self.num_bad_rounds >= config.plateau_rounds:
            self.factor, self.num_bad_rounds = self.factor * config.plateau_factor, 0
