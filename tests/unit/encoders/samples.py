"""Checkpoints that nobody trained."""

from typing import Any

import torch
from torch import nn

from pipeline.config import EncoderConfig, RunConfig, TransformConfig
from pipeline.encoders.checkpoints import CheckpointContents, CheckpointManifest, checkpoints, save_checkpoint
from pipeline.encoders.registry import Encoder, initial_encoder
from pipeline.storage.workspace import Workspace

ENCODER = EncoderConfig(name="small_cnn", embedding_dim=16, options={"base_width": 8})
TRANSFORM = TransformConfig(height=16, width=16)


def trained_encoder(config: EncoderConfig = ENCODER) -> Encoder:
    """An encoder whose weights are those of seed 3, and whose batch statistics are of no seed."""
    encoder = initial_encoder(config, TRANSFORM, seed=3)
    encoder.train()(torch.randn(8, 1, 16, 16))
    return encoder.eval()


def checkpoint(
    workspace: Workspace,
    step: int = 0,
    encoder: nn.Module | None = None,
    config: RunConfig | None = None,
    **contents: Any,  # noqa: ANN401 — attributes of all types
) -> CheckpointManifest:
    """Publishes a checkpoint: of one weight, if no encoder is given.

    Args:
        workspace: Whose run it is.
        step: Its number.
        encoder: Its weights.
        config: The run; its encoder is the manifest's, whatever the weights are.
        contents: Other attributes of :class:`CheckpointContents`.
    """
    fields: dict[str, Any] = {"step": step, "encoder": encoder or nn.Linear(1, 1), "corpus_fingerprint": "f" * 64}
    saved = CheckpointContents(**(fields | contents))
    return save_checkpoint(checkpoints(workspace), config or RunConfig(), saved)[0]
