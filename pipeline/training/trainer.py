"""The training step: forward once, every triplet, one update. Plain torch, on one worker or one of several."""

import contextlib
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import BandConfig, TrainingConfig
from pipeline.training.dataset import LoadedBatch
from pipeline.training.gather import gather_rows
from pipeline.training.loss import BatchLoss, Objective
from pipeline.training.optimiser import Plateau, learning_rate, make_optimiser

_STEPS_UNTIL_COLLAPSED = 20  # an untrained encoder may begin with a small spread; one that stays there is lost


class TrainingFailedError(Exception):
    """Training cannot go on from these weights; says why, and what to change."""


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Attributes:
        loss: Mean over the triplets whose loss is not zero.
        num_triplets: Triplets that counted.
        num_active: Those with d_ap - d_an + margin > 0.
        num_images: Images forwarded, over all workers.
        spread: Mean squared distance of the batch's embeddings to their centroid.
        learning_rate: Of this step.
    """

    loss: float
    num_triplets: int
    num_active: int
    num_images: int
    spread: float
    learning_rate: float


class Trainer:
    """Encoder and optimiser. The same steps on the same batches give the same weights, resumed or not."""

    def __init__(
        self,
        encoder: nn.Module,
        config: TrainingConfig,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        band: BandConfig | None = None,
    ) -> None:
        """Takes an encoder that is on its device already, wrapped in DDP where there are several workers.

        Its parameters that need no gradient stay as they are. ``seed`` is for what the network draws, ``band`` for the
        selection "positive_aware".
        """
        self.encoder, self._config, self._seed = encoder, config, seed
        self._rank, self._world_size = rank, world_size
        self._objective = Objective(config.loss, band or BandConfig())
        self.optimiser = make_optimiser(config.optimiser, (p for p in encoder.parameters() if p.requires_grad))
        self._plateau = Plateau()
        self._num_collapsed_steps = 0
        self._device = next(encoder.parameters()).device

    def step(self, batch: LoadedBatch) -> StepReport:
        """Takes one step.

        Raises:
            TrainingFailedError: The loss or an embedding is not finite, or all embeddings have become one point;
                weights are as they were before the step.
        """
        config, num_images = self._config, len(batch.labels_B)
        self.encoder.train()
        inputs = self._inputs(batch)
        # Near-equal chunks: a remainder of one image would have no batch statistics.
        chunks = torch.tensor_split(inputs, -(-len(inputs) // (config.images_per_forward or num_images)))
        is_whole, step = len(chunks) == 1, batch.step
        local = self._forward(chunks[0], step, 0) if is_whole else self._embed_without_graph(chunks, step)
        embeddings = gather_rows(local, self._rank, self._world_size, num_images)
        listed = None if batch.listed_T3 is None else batch.listed_T3.to(self._device)
        old = None if batch.old_BD is None else batch.old_BD.to(self._device)
        result = self._objective(embeddings, batch.labels_B.to(self._device), batch.selection, listed, old)
        spread = self._check(result, embeddings.detach(), batch)
        self.optimiser.zero_grad(set_to_none=True)
        (result.loss * self._world_size).backward()  # type: ignore[no-untyped-call]
        if not is_whole:
            self._backward(chunks, local, step)
        rate = learning_rate(config.optimiser, batch.step, config.num_steps) * self._plateau.factor
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        return StepReport(float(result.loss.detach()), result.num_triplets, result.num_active, num_images, spread, rate)

    def _inputs(self, batch: LoadedBatch) -> Tensor:
        inputs = batch.inputs.to(self._device, non_blocking=True)
        if self._config.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def _forward(self, inputs: Tensor, step: int, number: int) -> Tensor:
        # Whatever the network draws (dropout) depends on the step alone, so a resumed run draws the same, and so
        # does the second pass over a chunk.
        seed = (((self._seed * 1_000_003 + step) * 1_009 + self._rank) * 101 + number) % 2**63
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 80 times as long where there is no GPU
        if self._device.type == "cuda":
            torch.cuda.manual_seed(seed)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16"):
            embeddings: Tensor = self.encoder(inputs)
        return embeddings.float()

    def _embed_without_graph(self, chunks: tuple[Tensor, ...], step: int) -> Tensor:
        """The embeddings of all chunks, to take the loss's gradient by; autograd records nothing.

        The gradient of the whole batch's loss then flows back chunk by chunk ("GradCache", Gao et al. 2021,
        arXiv 2101.06983). Batch statistics are those of a chunk.
        """
        before = [buffer.clone() for buffer in self.encoder.buffers()]
        with torch.no_grad():
            embeddings = torch.cat([self._forward(chunk, step, number) for number, chunk in enumerate(chunks)])
            for buffer, value in zip(self.encoder.buffers(), before, strict=True):
                buffer.copy_(value)
        return embeddings.requires_grad_()

    def _backward(self, chunks: tuple[Tensor, ...], embeddings: Tensor, step: int) -> None:
        assert embeddings.grad is not None
        gradients = torch.tensor_split(embeddings.grad, len(chunks))
        for number, (chunk, gradient) in enumerate(zip(chunks, gradients, strict=True)):
            is_last = number == len(chunks) - 1
            no_sync: Any = getattr(self.encoder, "no_sync", contextlib.nullcontext)
            with contextlib.nullcontext() if is_last else no_sync():  # DDP sums once, after the last chunk
                self._forward(chunk, step, number).backward(gradient)  # type: ignore[no-untyped-call]

    def _check(self, result: BatchLoss, embeddings_BD: Tensor, batch: LoadedBatch) -> float:
        """The batch's spread; refuses what no further step would mend."""
        spread = float((embeddings_BD - embeddings_BD.mean(dim=0)).square().sum(dim=1).mean())
        # A NaN embedding fails every comparison, so its triplets would only vanish from the loss: look at both.
        if not (math.isfinite(float(result.loss.detach())) and math.isfinite(spread)):
            raise TrainingFailedError(
                f"training diverged: the loss or an embedding of step {batch.step} is not finite: lower "
                "training.optimiser.learning_rate, or warm up with training.optimiser.warmup_steps"
            )
        self._num_collapsed_steps = self._num_collapsed_steps + 1 if spread < self._config.min_spread else 0
        if self._num_collapsed_steps >= _STEPS_UNTIL_COLLAPSED:
            may_soften = batch.listed_T3 is None and batch.selection != "semi_hard"
            softer = f"select semi_hard instead of {batch.selection}, " if may_soften else ""
            raise TrainingFailedError(
                f"training collapsed: at step {batch.step} all embeddings are one point (mean squared distance to "
                f"their centroid {spread:.1e}, training.min_spread {self._config.min_spread:g}), where every triplet "
                f"loses exactly the margin: {softer}begin with random labels or an easier band (training.curriculum), "
                f"lower training.optimiser.learning_rate {self._config.optimiser.learning_rate:g}, or use "
                "training.loss.name selectively_contrastive"
            )
        return spread

    def begin_round(self, band: BandConfig) -> None:
        """Takes the band of the round, which a curriculum may have moved."""
        self._objective = Objective(self._config.loss, band)

    def end_round(self, active_share: float) -> None:
        """Takes note of how many of a round's triplets were active, for the schedule "plateau"."""
        self._plateau.end_round(self._config.optimiser, active_share)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the weights: tensors and plain values only."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "optimiser_name": self._config.optimiser.name,
            "plateau": asdict(self._plateau),
        }

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
        self._plateau = Plateau(**state.get("plateau", {}))
        for group in self.optimiser.param_groups:  # what the config says now, not what it said then
            group["weight_decay"] = self._config.optimiser.weight_decay
            if "momentum" in group:
                group["momentum"] = self._config.optimiser.momentum
