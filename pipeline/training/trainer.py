"""The training step: forward once, every triplet, one update. Plain torch, on one worker or one of several."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipeline.config import OptimiserConfig, TrainingConfig
from pipeline.training.dataset import LoadedBatch
from pipeline.training.gather import gather_rows
from pipeline.training.loss import triplet_loss

_OPTIMISERS: dict[str, Any] = {
    "adamw": torch.optim.AdamW,
    "sgd": lambda parameters, **options: torch.optim.SGD(parameters, momentum=0.9, **options),
    "adagrad": torch.optim.Adagrad,
}


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Attributes:
        loss: Mean hinge over the active triplets.
        num_triplets: Triplets that counted.
        num_active: Those with a loss above zero.
        num_images: Images forwarded, over all workers.
    """

    loss: float
    num_triplets: int
    num_active: int
    num_images: int


def learning_rate(config: OptimiserConfig, step: int, num_steps: int) -> float:
    """The rate of a step: a pure function, so there is no scheduler state to save."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
    return rate * min(1.0, (step + 1) / (config.warmup_steps + 1))


class Trainer:
    """Encoder and optimiser. The same steps on the same batches give the same weights, resumed or not."""

    def __init__(
        self, encoder: nn.Module, config: TrainingConfig, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        """Takes an encoder that is on its device already, wrapped in DDP where there are several workers."""
        self.encoder, self._config, self._seed = encoder, config, seed
        self._rank, self._world_size = rank, world_size
        parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
        options = config.optimiser
        self.optimiser = _OPTIMISERS[options.name](
            parameters, lr=options.learning_rate, weight_decay=options.weight_decay
        )

    def step(self, batch: LoadedBatch) -> StepReport:
        """Takes one step.

        Raises:
            FloatingPointError: The loss or an embedding is not finite; weights are as they were before.
        """
        config = self._config
        # Whatever the network draws (dropout) depends on the step alone, so a resumed run draws the same.
        torch.manual_seed(((self._seed * 1_000_003 + batch.step) * 1_009 + self._rank) % 2**63)
        self.encoder.train()
        device = next(self.encoder.parameters()).device
        local = self.encoder(batch.inputs.to(device))
        num_images = len(batch.labels_B)
        embeddings = gather_rows(local, self._rank, self._world_size, num_images)
        listed = None if batch.listed_T3 is None else batch.listed_T3.to(device)
        result = triplet_loss(embeddings, batch.labels_B.to(device), config.margin, batch.selection, listed)
        loss = float(result.loss.detach())
        # A NaN embedding fails every comparison, so its triplets would only vanish from the loss: look at both.
        if not (math.isfinite(loss) and bool(torch.isfinite(embeddings).all())):
            raise FloatingPointError(f"the loss or an embedding of step {batch.step} is not finite")
        self.optimiser.zero_grad(set_to_none=True)
        (result.loss * self._world_size).backward()  # type: ignore[no-untyped-call]
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config.optimiser, batch.step, config.num_steps)
        self.optimiser.step()
        return StepReport(loss, result.num_triplets, result.num_active, num_images)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the weights: tensors and plain values only."""
        state: dict[str, Any] = self.optimiser.state_dict()
        return {"optimiser": state, "optimiser_name": self._config.optimiser.name}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes up where ``state`` was saved.

        Raises:
            ValueError: It was saved by another optimiser.
        """
        if not state:  # the checkpoint of step 0: nothing was trained yet
            return
        if state["optimiser_name"] != self._config.optimiser.name:
            raise ValueError(
                f"the checkpoint was trained with {state['optimiser_name']}, "
                f"the config asks for {self._config.optimiser.name}"
            )
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:  # what the config says now, not what it said then
            group["weight_decay"] = self._config.optimiser.weight_decay
