"""What the tests of several workers run in each of them; imported by a process that forks them, hence apart."""

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.config import TrainingConfig
from pipeline.training.gather import gather_rows, rows_of
from pipeline.training.trainer import Trainer
from tests.unit.training.samples import CONFIG, OLD, Small, configured, dataset, train, unit_vectors

NUM_STEPS = 5
NUM_ROWS = 7


def cases(world_size: int) -> dict[str, tuple[Small, TrainingConfig]]:
    """Networks and configs that are trained by several workers."""
    uneven = configured(images_per_forward=15 // world_size)  # some workers forward one piece, others two
    return {
        "at_once": (Small(), CONFIG),
        "in_twos": (Small(), configured(images_per_forward=2)),
        "uneven": (Small(), uneven),
        "batch_norm": (Small(batch_norm=True), CONFIG),
        "uneven_batch_norm": (Small(batch_norm=True), uneven),
    }


def join(rank: int, world_size: int, folder: str) -> None:
    """Makes this process a member of the group."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/members", rank=rank, world_size=world_size)


def train_cases(rank: int, world_size: int, folder: str) -> None:
    """Trains each case and saves the weights."""
    join(rank, world_size, folder)
    for name, (encoder, config) in cases(world_size).items():
        wrapped = nn.parallel.DistributedDataParallel(encoder, find_unused_parameters=True)
        trainer = Trainer(wrapped, config, seed=5, rank=rank, world_size=world_size)
        reports = train(trainer, range(NUM_STEPS), dataset(rank, world_size))
        losses = torch.tensor([report.loss for report in reports])
        torch.save({**encoder.state_dict(), "losses": losses}, f"{folder}/{name}-{rank}.pt")
    dist.destroy_process_group()


def train_harmonic(rank: int, world_size: int, folder: str) -> None:
    """Trains beside an older encoder and saves the weights."""
    join(rank, world_size, folder)
    encoder = Small()
    wrapped = nn.parallel.DistributedDataParallel(encoder, find_unused_parameters=True)
    trainer = Trainer(wrapped, CONFIG, seed=5, rank=rank, world_size=world_size)
    train(trainer, range(NUM_STEPS), dataset(rank, world_size, old_ND=OLD))
    torch.save(encoder.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def whole_batch() -> tuple[Tensor, Tensor]:
    """Embeddings of a whole batch, and weights of a loss that tells all rows apart."""
    return torch.from_numpy(unit_vectors(0, NUM_ROWS)), torch.from_numpy(unit_vectors(1, NUM_ROWS))


def gather_all(rank: int, world_size: int, folder: str) -> None:
    """Gathers a batch and saves it with the gradient of the worker's rows."""
    join(rank, world_size, folder)
    whole, weights = whole_batch()
    local = whole[rows_of(rank, world_size, NUM_ROWS)].clone().requires_grad_()
    gathered = gather_rows(local, rank, world_size, NUM_ROWS)
    (gathered * weights).sum().backward()  # type: ignore[no-untyped-call]
    torch.save({"gathered": gathered.detach(), "gradient": local.grad}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
