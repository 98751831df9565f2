"""Checkpoints that nobody trained."""

from typing import Any

from torch import nn

from pipeline.config import RunConfig
from pipeline.encoders.checkpoints import CheckpointContents, CheckpointManifest, checkpoints, save_checkpoint
from pipeline.storage.workspace import Workspace


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
