import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn

from pipeline.config import BatchConfig, OptimiserConfig, TrainingConfig
from pipeline.errors import InputError
from pipeline.training.batches import Pool, RandomLabels
from pipeline.training.dataset import StepDataset, batches
from pipeline.training.gather import rows_of
from pipeline.training.trainer import Trainer, learning_rate

LABELS = np.repeat(np.arange(12), 4).astype(np.int32)
INPUTS = np.random.default_rng(0).normal(size=(48, 10)).astype(np.float32)
CONFIG = TrainingConfig(
    num_steps=20,
    steps_per_round=10,
    batch=BatchConfig(num_labels=5, images_per_label=3),
    optimiser=OptimiserConfig(name="sgd", learning_rate=0.05),
)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.layers(x), dim=1)


def encoder() -> nn.Module:
    torch.manual_seed(1)
    return Small()


def dataset(rank: int = 0, world_size: int = 1) -> StepDataset:
    planner = RandomLabels(Pool(np.arange(48), LABELS), CONFIG.batch, seed=3)
    return StepDataset(planner, lambda example: INPUTS[example], rank, world_size)


def test_a_resumed_trainer_takes_the_steps_it_would_have_taken(tmp_path: Path) -> None:
    for name in ("sgd", "adamw", "adagrad"):
        config = CONFIG.model_copy(update={"optimiser": OptimiserConfig.model_validate({"name": name})})
        whole = Trainer(encoder(), config, seed=5)
        losses = [whole.step(batch).loss for batch in batches(dataset(), range(8), 0)]
        first = Trainer(encoder(), config, seed=5)
        for batch in batches(dataset(), range(4), 0):
            first.step(batch)
        torch.save(first.state(), tmp_path / "state.pt")
        resumed = Trainer(first.encoder, config, seed=5)
        resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
        assert [resumed.step(batch).loss for batch in batches(dataset(), range(4, 8), 0)] == losses[4:]
        for ours, theirs in zip(resumed.encoder.parameters(), whole.encoder.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_decoding_ahead_changes_nothing() -> None:
    in_line, ahead = (list(batches(dataset(), range(3), workers)) for workers in (0, 2))
    for a, b in zip(in_line, ahead, strict=True):
        assert a.step == b.step and torch.equal(a.inputs, b.inputs) and torch.equal(a.labels_B, b.labels_B)


def refuse(example: int) -> np.ndarray:
    raise InputError(f"example {example} cannot be decoded")


@pytest.mark.parametrize("decode_workers", [0, 1])
def test_an_error_of_a_decoding_process_stays_one_sentence(decode_workers: int) -> None:
    planner = RandomLabels(Pool(np.arange(48), LABELS), CONFIG.batch, seed=3)
    with pytest.raises(InputError, match=r"^example \d+ cannot be decoded$"):
        list(batches(StepDataset(planner, refuse, 0, 1), range(1), decode_workers))


def test_the_optimiser_of_another_kind_is_refused() -> None:
    state = Trainer(encoder(), CONFIG, seed=0).state()
    other = Trainer(encoder(), CONFIG.model_copy(update={"optimiser": OptimiserConfig(name="adamw")}), seed=0)
    with pytest.raises(ValueError, match="sgd"):
        other.load_state(state)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change() -> None:
    trainer = Trainer(encoder(), CONFIG, seed=0)
    before = [parameter.clone() for parameter in trainer.encoder.parameters()]
    batch = next(iter(batches(dataset(), range(1), 0)))
    batch.inputs[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="step 0"):
        trainer.step(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.encoder.parameters(), strict=True))


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = OptimiserConfig(learning_rate=0.1, warmup_steps=9)
    rates = [learning_rate(config, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.01) and max(rates) < 0.1 and rates[100] == pytest.approx(0.0)
    assert learning_rate(OptimiserConfig(learning_rate=0.1, schedule="constant"), 77, 100) == 0.1


def test_workers_share_a_batch_without_overlap_or_gap() -> None:
    for num_rows in (1, 7, 180):
        for world_size in (1, 2, 3):
            parts = [rows_of(rank, world_size, num_rows) for rank in range(world_size)]
            assert [row for part in parts for row in range(num_rows)[part]] == list(range(num_rows))


def _worker(rank: int, world_size: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    model = encoder().eval()  # dropout would differ between workers
    wrapped = nn.parallel.DistributedDataParallel(model)
    trainer = Trainer(wrapped, CONFIG, seed=5, rank=rank, world_size=world_size)
    wrapped.train = lambda mode=True: wrapped  # type: ignore[method-assign]
    for batch in batches(dataset(rank, world_size), range(5), 0):
        trainer.step(batch)
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("world_size", [2, 4])
def test_several_workers_take_the_gradient_of_the_undivided_batch(world_size: int, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(_worker, (world_size, port, str(tmp_path)), nprocs=world_size)  # type: ignore[no-untyped-call]
    model = encoder().eval()
    alone = Trainer(model, CONFIG, seed=5)
    model.train = lambda mode=True: model  # type: ignore[method-assign]
    for batch in batches(dataset(), range(5), 0):
        alone.step(batch)
    for rank in range(world_size):
        state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(state[name], weight, rtol=1e-4, atol=1e-6)
