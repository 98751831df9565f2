"""The whole batch's embeddings on every worker, so that splitting a batch splits no triplet."""

import torch
import torch.distributed as dist
from torch import Tensor


def rows_of(rank: int, world_size: int, num_rows: int) -> slice:
    """The rows of a batch that a worker forwards: near-equal, contiguous, covering all."""
    return slice(num_rows * rank // world_size, num_rows * (rank + 1) // world_size)


def gather_rows(local_bD: Tensor, rank: int, world_size: int, num_rows: int) -> Tensor:
    """Embeddings of the whole batch; only the worker's own rows carry a gradient.

    Every worker computes the same loss from the result. Its gradient reaches the network through each worker's
    own rows, so the sum over workers is the gradient of the undivided batch; DDP averages, hence the factor
    ``world_size`` in ``Trainer.step``.

    Args:
        local_bD: This worker's rows, shape (b, D).
        rank: This worker.
        world_size: Workers in all; 1 needs no process group.
        num_rows: B, rows of the whole batch.

    Returns:
        Shape (B, D).
    """
    if world_size == 1:
        return local_bD
    slices = [rows_of(worker, world_size, num_rows) for worker in range(world_size)]
    longest = max(rows.stop - rows.start for rows in slices)
    padded = local_bD.new_zeros(longest, local_bD.shape[1])
    padded[: len(local_bD)] = local_bD.detach()
    received = [torch.empty_like(padded) for _ in range(world_size)]
    dist.all_gather(received, padded)
    parts = [part[: rows.stop - rows.start] for part, rows in zip(received, slices, strict=True)]
    parts[rank] = local_bD
    return torch.cat(parts)
