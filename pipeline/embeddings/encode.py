"""Runs an encoder over batches of inputs."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn


def encode(
    encoder: nn.Module,
    payloads: Sequence[Any],
    load: Callable[[Any], npt.NDArray[np.float32]],
    batch_size: int,
    device: str,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> npt.NDArray[np.float32]:
    """Encodes payloads in order, in batches that depend on their number alone (so a repeat gives the same bits).

    Args:
        encoder: In evaluation mode, on ``device``; (B, ...) to (B, D).
        payloads: N encoded images or vectors.
        load: Payload to input array, float32.
        batch_size: Inputs a batch.
        device: "cpu" or "cuda".
        precision: Of the forward pass.

    Returns:
        float32, shape (N, D).
    """
    outputs = []
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        for start in range(0, len(payloads), batch_size):
            batch = np.stack([load(payload) for payload in payloads[start : start + batch_size]])
            outputs.append(encoder(torch.from_numpy(batch).to(device)).float().cpu().numpy())
    return np.concatenate(outputs)
