"""Checkpoints that nobody trained."""

from typing import Any

from torch import nn

from pipeline.config import EncoderConfig, TransformConfig
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, save_checkpoint
from pipeline.storage.workspace import Workspace


def checkpoint(
    workspace: Workspace, step: int = 0, encoder: nn.Module | None = None, **changes: object
) -> CheckpointManifest:
    """Publishes a checkpoint: of one weight, if no encoder is given.

    Args:
        workspace: Whose run it is.
        step: Its number.
        encoder: Its weights.
        changes: Other arguments of :func:`save_checkpoint`.
    """
    arguments: dict[str, Any] = {
        "step": step,
        "encoder_module": encoder or nn.Linear(1, 1),
        "encoder_config": EncoderConfig(),
        "transform_config": TransformConfig(),
        "trainer_state": {},
        "corpus_fingerprint": "f" * 64,
        "generation": None,
        "metrics": {},
        "seed": 0,
        "config_digest": "c" * 64,
        "parent": None,
    }
    return save_checkpoint(checkpoints(workspace), **arguments | changes)[0]
