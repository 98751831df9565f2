"""Training that starts from weights which are there already: a safetensors file, or a checkpoint of the workspace."""

import os
from collections.abc import Iterable
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline.config import EncoderConfig, TransformConfig
from pipeline.encoders.checkpoint_names import CHECKPOINT, find_checkpoint
from pipeline.encoders.checkpoints import NETWORK, checkpoints, load_weights
from pipeline.encoders.registry import Encoder, initial_encoder
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.storage.workspace import Workspace

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
FORMS = "name a local .safetensors file, or RUN:STEP (or RUN, for its newest checkpoint) of this workspace"

MOST_KEPT = 8
"""Tensors that keep their initial values and are named; more are counted."""


def pretrained_encoder(
    config: EncoderConfig, transform: TransformConfig, seed: int, workspace: Workspace, corpus_fingerprint: str
) -> Encoder:
    """Builds the encoder that training starts from, and says whence its weights are.

    Without ``config.pretrained`` that is `initial_encoder`. With it, each tensor of the initial encoder takes the
    values of the one that has the same name and shape there; names may begin with ``network.``, as those of our
    checkpoints, or lack it, as those of a network saved alone. What does not fit (a head of another
    embedding_dim) keeps its initial values, and is named.

    Args:
        config: See `build_encoder`; ``pretrained`` says where the weights are.
        transform: See `build_encoder`.
        seed: Of the initial values; see `initial_encoder`.
        workspace: Holds the run, where ``pretrained`` names one.
        corpus_fingerprint: Of the corpus to be trained on; weights trained on another one are remarked on.

    Returns:
        The encoder, on the CPU, in training mode.

    Raises:
        InputError: There are no such weights, or in no format that can be read safely; they fit fewer than half
            of the trainable tensors; they are not finite. See also `build_encoder`.
        CorruptDataError: The checkpoint's bytes are not what was published.
    """
    encoder = initial_encoder(config, transform, seed)
    source = config.pretrained
    if source is None:
        return encoder
    if "://" in source:
        raise InputError(f"encoder.pretrained {source!r} is not a local file: copy it to this machine, and {FORMS}")
    if source.lower().endswith(PICKLES):
        raise InputError(
            f"encoder.pretrained {source!r} is a pickle, which could run code when it is read: convert it where you "
            "trust it, with safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors') "
            "(of its state dict, if the file holds more than that), and name the result"
        )
    if source.lower().endswith(".safetensors"):
        weights, where = _of_file(source), source
    else:
        weights, where = _of_checkpoint(source, workspace, corpus_fingerprint)
    log(_fill(encoder, weights, where, config.name))
    return encoder


def _of_file(source: str) -> dict[str, Tensor]:
    path = Path(os.path.expanduser(source))  # noqa: PTH111 (Path.expanduser raises without a home)
    if not path.is_file():
        raise InputError(f"encoder.pretrained {source!r}: there is no such file on this machine; {FORMS}")
    try:
        weights: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"encoder.pretrained {source!r} cannot be read as safetensors ({error}): save it again, with "
            "safetensors.torch.save_file"
        ) from error
    return weights


def _of_checkpoint(source: str, workspace: Workspace, corpus_fingerprint: str) -> tuple[dict[str, Tensor], str]:
    if CHECKPOINT.fullmatch(source) is None:
        raise InputError(f"encoder.pretrained {source!r} is neither a file nor a checkpoint: {FORMS}")
    run, manifest = find_checkpoint(source, workspace, "encoder.pretrained")
    where = f"run {run!r} step {manifest.step}"
    if manifest.step > 0 and manifest.corpus_fingerprint != corpus_fingerprint:
        log(
            f"note: {where}, which encoder.pretrained names, was trained on another corpus or split than the newest "
            "one, and may have seen labels that are test labels now"
        )
    return load_weights(checkpoints(Workspace(workspace.store, run)), manifest), where


def _fill(encoder: Encoder, weights: dict[str, Tensor], where: str, name: str) -> str:
    """Gives the encoder what fits of the weights, and returns a sentence on what it took and what not."""
    wanted: dict[str, Tensor] = encoder.state_dict(keep_vars=True)  # the tensors themselves: tied ones are one object
    readings = [{prefix + key: tensor for key, tensor in weights.items()} for prefix in ("", NETWORK)]
    there = max(readings, key=lambda reading: len(reading.keys() & wanted.keys()))
    fitting = {key: tensor for key, tensor in there.items() if key in wanted and not _misfit(tensor, wanted[key])}
    filled = {id(wanted[key]) for key in fitting}
    trainable = {id(tensor) for tensor in wanted.values() if tensor.requires_grad}
    kept = [key for key, tensor in wanted.items() if id(tensor) not in filled]
    if not filled or 2 * len(trainable & filled) < len(trainable):
        raise InputError(
            f"encoder.pretrained: {where} has only {len(trainable & filled)} of the {len(trainable)} trainable tensors "
            f"of encoder {name!r} under their names and in their shapes "
            f"(there: {_examples(there, sorted(there.keys() - fitting.keys()))}; wanted: {_examples(wanted, kept)}): "
            "use weights of this architecture, or rename them"
        )
    encoder.load_state_dict(fitting, strict=False)
    broken = [_short(key) for key in fitting if not bool(wanted[key].isfinite().all())]
    if broken:
        raise InputError(
            f"encoder.pretrained: {where} has values in {broken[0]} that are not finite: use other weights"
        )
    reasons = [
        f"{_short(key)} ({_misfit(there[key], wanted[key]) if key in there else 'not there'})"
        for key in kept[:MOST_KEPT]
    ]
    more = f" and {len(kept) - MOST_KEPT} more" if len(kept) > MOST_KEPT else ""
    num_unused = len(there.keys() - wanted.keys())
    return (
        f"encoder: {len(wanted) - len(kept)} of {len(wanted)} tensors start from {where}"
        + (f"; the others keep their initial values: {', '.join(reasons)}{more}" if kept else "")
        + (f"; unused: {num_unused} of those there" if num_unused else "")
    )


def _misfit(there: Tensor, here: Tensor) -> str:
    """Why one tensor cannot take the values of another; empty if it can. Floats of another width are converted."""
    if there.shape != here.shape:
        return f"{_shape(there)} there, {_shape(here)} here"
    if there.dtype != here.dtype and not (there.is_floating_point() and here.is_floating_point()):
        return f"{there.dtype} there, {here.dtype} here".replace("torch.", "")
    return ""


def _examples(tensors: dict[str, Tensor], keys: Iterable[str]) -> str:
    return ", ".join(f"{_short(key)} {_shape(tensors[key])}" for key in list(keys)[:3]) or "nothing else"


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"


def _short(key: str) -> str:
    return key.removeprefix(NETWORK)
