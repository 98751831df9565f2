"""The encoder as a worker trains it: with what is frozen, laid out, compiled, and wrapped for DDP."""

import ray.train.torch
import torch
from torch import nn

from pipeline.config import RunConfig, TrainingConfig
from pipeline.encoders.checkpoints import CheckpointManifest, load_encoder
from pipeline.encoders.frozen import freeze
from pipeline.storage.publish import VersionedDataset


def lay_out(encoder: nn.Module, training: TrainingConfig) -> nn.Module:
    """The encoder with what is frozen, as it lies in memory, compiled where the config says so."""
    freeze(encoder, training.frozen)
    if training.channels_last:
        encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if training.compile:
        encoder.compile()
    return encoder


def prepare_encoder(
    config: RunConfig, dataset: VersionedDataset[CheckpointManifest], checkpoint: CheckpointManifest
) -> nn.Module:
    """Loads the encoder of the checkpoint to go on from, on the device of this worker."""
    encoder = load_encoder(dataset, checkpoint, config.encoder, config.transform, "cpu")
    prepared: nn.Module = ray.train.torch.prepare_model(
        lay_out(encoder, config.training),
        move_to_device=config.training.device == "cuda",
        # Without it DDP lays its buckets anew after a process's first step, and sums in another order from then on:
        # a resumed run would not take the steps that it would have taken.
        parallel_strategy_kwargs={"find_unused_parameters": True},
    )
    return prepared
