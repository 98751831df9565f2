"""Checkpoints: encoder weights as safetensors, trainer state beside them, one manifest; number = step."""

import hashlib
import io
import json
import pickle
import struct
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import safetensors.torch
import torch
from pydantic import model_validator
from safetensors import SafetensorError
from torch import Tensor, nn

from pipeline.config import EncoderConfig, OldEncoder, RunConfig, TransformConfig
from pipeline.encoders.registry import IMPORT_PATH, Encoder, build_encoder
from pipeline.errors import CorruptDataError, InputError
from pipeline.failpoints import Failpoint, reach
from pipeline.storage.leases import acquire_pins
from pipeline.storage.publish import Manifest, VersionedDataset
from pipeline.storage.workspace import Workspace

ENCODER, TRAINER, STEPS = "encoder", "trainer", "steps"

NETWORK = "network."
"""What the names of a checkpoint's tensors begin with: an `Encoder` holds its network under this name."""

# What torch's restricted unpickler raises on bytes that torch.save did not write, found by flipping bytes.
_MALFORMED = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class CheckpointManifest(Manifest):
    """One published checkpoint.

    Parts have the roles `encoder` (safetensors), `trainer` (optimiser state) and, of a trained one, `steps` (Parquet, a
    row for each step since the checkpoint before).
    """

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    """Equal to ``number``: steps taken; 0 is the untrained encoder."""
    weights_digest: str
    encoder: EncoderConfig
    transform: TransformConfig
    corpus_fingerprint: str
    generation: int | None
    """The generation that the trainer had pinned when it published."""
    metrics: dict[str, float]
    """Of the steps since the checkpoint before."""
    harmonic: OldEncoder | None = None
    """The checkpoint whose embeddings these are trained to be comparable with."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.step != self.number:
            raise ValueError(f"step {self.step} is published as number {self.number}")
        for role in (ENCODER, TRAINER):
            if len(self.parts_of(role)) != 1:
                raise ValueError(f"there must be one part with the role {role!r}")
        return self


def checkpoints(workspace: Workspace) -> VersionedDataset[CheckpointManifest]:
    """The checkpoints of the workspace's run."""
    return VersionedDataset(workspace.store, workspace.checkpoints_prefix, CheckpointManifest)


def weights_digest(encoder: EncoderConfig, state: dict[str, Tensor]) -> str:
    """SHA-256 over the architecture and every tensor: name, dtype, shape and bytes.

    Args:
        encoder: Name, options and D: equal weights in another network are another encoder. Where training started
            from (``pretrained``) does not count.
        state: The state dict, on any device.
    """
    hasher = hashlib.sha256(json.dumps(_architecture(encoder), sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        hasher.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


@dataclass(frozen=True)
class CheckpointContents:
    """What a checkpoint is made of, beside the run's config.

    Attributes:
        step: Steps taken; the checkpoint's number.
        encoder: Not wrapped.
        corpus_fingerprint: Of the corpus it was trained on.
        harmonic: What it is trained to be comparable with.
        trainer_state: Tensors, numbers, strings, lists and dicts: what ``torch.load(weights_only=True)`` reads.
        generation: The pinned generation, if any.
        metrics: Of the steps since the checkpoint before.
        steps: A Parquet file with a row for each of these steps.
        parent: Step of the checkpoint before.
    """

    step: int
    encoder: nn.Module
    corpus_fingerprint: str
    harmonic: OldEncoder | None = None
    trainer_state: dict[str, Any] = field(default_factory=dict)
    generation: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    steps: bytes | None = None
    parent: int | None = None


def save_checkpoint(
    dataset: VersionedDataset[CheckpointManifest], config: RunConfig, contents: CheckpointContents
) -> tuple[CheckpointManifest, bool]:
    """Publishes a checkpoint.

    Args:
        dataset: The run's checkpoints.
        config: The run; names the encoder's architecture and preprocessing.
        contents: What is saved.

    Returns:
        The checkpoint that stands under the step, and whether it is ours.

    Raises:
        pickle.UnpicklingError: The trainer state holds something else, and nothing was published.
    """
    buffer = io.BytesIO()
    torch.save(contents.trainer_state, buffer)
    _parse_trainer_state(buffer.getvalue())  # what could not be resumed from must not be published
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in contents.encoder.state_dict().items()}
    reach(Failpoint.CHECKPOINT)
    transaction = dataset.begin(contents.step)
    being_written = f"{dataset.data_folder(contents.step, transaction.writer)}/"
    with acquire_pins(dataset.store, f"writing of checkpoint {contents.step}", being_written).renewing():
        transaction.add_part(ENCODER, "encoder.safetensors", safetensors.torch.save(state), len(state))
        transaction.add_part(TRAINER, "trainer.pt", buffer.getvalue(), 1)
        if contents.steps is not None:
            transaction.add_part(STEPS, "steps.parquet", contents.steps, 1)
        manifest = CheckpointManifest(
            **transaction.manifest_fields(),
            parent=contents.parent,
            seed=config.seed,
            config_digest=config.digest(),
            step=contents.step,
            weights_digest=weights_digest(config.encoder, state),
            encoder=config.encoder,
            transform=config.transform,
            corpus_fingerprint=contents.corpus_fingerprint,
            generation=contents.generation,
            metrics=contents.metrics,
            harmonic=contents.harmonic,
        )
        published = transaction.commit(manifest)
    reach(Failpoint.CHECKPOINT_PUBLISHED)
    return published


def config_of(manifest: CheckpointManifest, config: RunConfig) -> RunConfig:
    """The config with the encoder and the preprocessing of a checkpoint, which may be others than the config's own.

    Registered networks may be built because a manifest names them. Code at an import path is run only where the config
    names that path itself, as ``encoder.name`` or ``harmonic.encoder_name``.

    Raises:
        InputError: The checkpoint's network is at an import path that the config does not name.
    """
    name = manifest.encoder.name
    named = {config.encoder.name, config.harmonic.encoder_name if config.harmonic is not None else None}
    if IMPORT_PATH.fullmatch(name) and name not in named:
        raise InputError(
            f"checkpoint {manifest.step} was saved from the network {name!r}, and no code is imported because a "
            "checkpoint names it: if you trust it, name it in the config, as encoder.name (or, for the old encoder of "
            "a harmonic run, as harmonic.encoder_name)"
        )
    return config.model_copy(update={"encoder": manifest.encoder, "transform": manifest.transform})


def check_architecture(manifest: CheckpointManifest, encoder: EncoderConfig, transform: TransformConfig) -> None:
    """Refuses a checkpoint of another architecture or preprocessing than the config's.

    Where training started from (``encoder.pretrained``) does not count.

    Raises:
        InputError: They differ.
    """
    settings = {
        "encoder": (_architecture(manifest.encoder), _architecture(encoder)),
        "transform": (manifest.transform.model_dump(mode="json"), transform.model_dump(mode="json")),
    }
    for name, (theirs, ours) in settings.items():
        if theirs != ours:
            raise InputError(
                f"checkpoint {manifest.step} has another {name} ({_format_settings(theirs)}) than the config "
                f"({_format_settings(ours)}): use the config it was trained with, or another --run or --workspace"
            )


def load_encoder(
    dataset: VersionedDataset[CheckpointManifest],
    manifest: CheckpointManifest,
    encoder: EncoderConfig,
    transform: TransformConfig,
    device: str,
) -> Encoder:
    """The encoder of a checkpoint, in evaluation mode.

    Args:
        dataset: The run's checkpoints.
        manifest: Which one.
        encoder: The config's architecture; it decides what code is run, never the manifest (see ``config_of``).
        transform: The config's preprocessing.
        device: "cpu" or "cuda".

    Raises:
        InputError: The checkpoint is of another architecture.
        CorruptDataError: Its bytes are not what was published.
    """
    check_architecture(manifest, encoder, transform)
    module = build_encoder(encoder, transform)
    weights = load_weights(dataset, manifest)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"the weights of {_name(dataset, manifest)} do not fit the network {encoder.name!r} "
            f"({' '.join(str(error).split())[:300]}): its code has changed since; use the code it was trained with"
        ) from error
    return module.to(device).eval()


def load_weights(dataset: VersionedDataset[CheckpointManifest], manifest: CheckpointManifest) -> dict[str, Tensor]:
    """The encoder's state dict as a checkpoint holds it, for whatever network it was saved from.

    Raises:
        CorruptDataError: Its bytes are not what was published.
    """
    where = _name(dataset, manifest)
    try:
        state: dict[str, Tensor] = safetensors.torch.load(dataset.read_part(manifest.parts_of(ENCODER)[0]))
    except SafetensorError as error:
        raise CorruptDataError(f"the weights of {where} are not safetensors ({error}): restore them") from error
    if weights_digest(manifest.encoder, state) != manifest.weights_digest:
        raise CorruptDataError(f"the weights of {where} do not have the digest of their manifest: restore them")
    return state


def load_trainer_state(dataset: VersionedDataset[CheckpointManifest], manifest: CheckpointManifest) -> dict[str, Any]:
    """The trainer state of a checkpoint; empty for the untrained one.

    Raises:
        CorruptDataError: The bytes hold anything but tensors and plain values; nothing of them is run.
    """
    data = dataset.read_part(manifest.parts_of(TRAINER)[0])
    try:
        state = _parse_trainer_state(data)
    except _MALFORMED as error:
        raise CorruptDataError(
            f"the trainer state of checkpoint {manifest.step} in {dataset.store.uri} cannot be read safely: restore it"
        ) from error
    if not isinstance(state, dict):
        raise CorruptDataError(
            f"the trainer state of checkpoint {manifest.step} is a {type(state).__name__}, not a dict"
        )
    return state


def _parse_trainer_state(data: bytes) -> Any:  # noqa: ANN401  # whatever the bytes hold; callers check
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _architecture(encoder: EncoderConfig) -> dict[str, Any]:
    """What decides which weights fit and what they compute; not where training started from."""
    return encoder.model_dump(mode="json", exclude={"pretrained"})


def _name(dataset: VersionedDataset[CheckpointManifest], manifest: CheckpointManifest) -> str:
    return f"checkpoint {manifest.step} in {dataset.store.uri}"


def _format_settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
