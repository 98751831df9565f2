"""Runs an encoder over batches of inputs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config import EmbedConfig
from pipeline.errors import InputError


def encode(
    encoder: nn.Module,
    contents: Sequence[Any],
    load: Callable[[Any], npt.NDArray[np.float32]],
    config: EmbedConfig,
    device: str,
) -> npt.NDArray[np.float32]:
    """Encodes examples in order, in batches that depend on their number alone (so a repeat gives the same bits).

    Args:
        encoder: In evaluation mode, on ``device``; (B, ...) to (B, D).
        contents: N encoded images or vectors, or the ids of examples.
        load: One of them to input array, float32.
        config: Batch size, precision of the forward pass, and whether mirror images count too.
        device: "cpu" or "cuda".

    Returns:
        float32, shape (N, D).

    Raises:
        InputError: Vectors are to be mirrored.
    """
    outputs = []
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=config.precision == "bfloat16"):
        for start in range(0, len(contents), config.batch_size):
            batch = np.stack([load(content) for content in contents[start : start + config.batch_size]])
            inputs = torch.from_numpy(batch).to(device)
            found = encoder(inputs).float()
            if config.mirror:
                if inputs.ndim != 4:
                    raise InputError("embed.mirror mirrors images, and this corpus holds vectors: leave it out")
                found = F.normalize(found + encoder(inputs.flip(3)).float(), dim=1)
            outputs.append(found.cpu().numpy())
    return np.concatenate(outputs)
