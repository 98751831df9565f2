"""Parts of an encoder that training leaves as they are: their weights, and the statistics of their batches."""

from functools import partial

from torch import nn

from pipeline.encoders.checkpoints import NETWORK
from pipeline.errors import InputError

MOST_NAMES = 12
"""Names that an error lists; more are counted."""


def freeze(module: nn.Module, names: tuple[str, ...]) -> None:
    """Takes parts of an encoder out of training, for good.

    A name means the module or parameter that is called so and all below it: ``features.0`` means
    ``features.0.1.weight``, and not ``features.01``. Frozen parameters get no gradient. Frozen modules are in
    evaluation mode and stay in it whenever ``train()`` is called on them or on whatever holds or wraps them, so
    that batch statistics stay too and dropout draws nothing. A parameter that is named alone leaves the mode of
    its module as it is.

    Args:
        module: The encoder, on any device and not yet wrapped: DDP and optimisers look at ``requires_grad`` once.
        names: Qualified names in the encoder; a leading ``network.`` may be left out.

    Raises:
        InputError: A name means nothing, or nothing is left to train; nothing was changed.
    """
    parts = _parts(module)
    frozen: dict[str, nn.Module | nn.Parameter] = {}
    for name in names:
        meant = _meant(name, parts) or _meant(NETWORK + name, parts)
        if not meant:
            raise _unknown(name, parts)
        frozen |= meant
    frozen_ids = {id(part) for part in frozen.values()}
    if frozen and not any(
        parameter.requires_grad and id(parameter) not in frozen_ids for parameter in module.parameters()
    ):
        raise InputError(
            f"training.frozen {list(names)} leaves no parameter of the encoder to train: take a name out of it, or "
            "mine the encoder as it is with jobs.mine"
        )
    for part in frozen.values():
        if isinstance(part, nn.Parameter):
            part.requires_grad_(False)
        else:
            # Every way to training mode (an encoder's, DDP's, torch.compile's) leads through the part's own `train`.
            part.train = partial(_stay_in_evaluation, part)  # type: ignore[method-assign]
            part.eval()


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    return type(module).train(module, mode=False)


def _parts(module: nn.Module) -> dict[str, nn.Module | nn.Parameter]:
    """All modules and parameters below the encoder, under every name that they have."""
    modules = {name: part for name, part in module.named_modules(remove_duplicate=False) if name}
    return {**modules, **dict(module.named_parameters(remove_duplicate=False))}


def _meant(name: str, parts: dict[str, nn.Module | nn.Parameter]) -> dict[str, nn.Module | nn.Parameter]:
    return {known: part for known, part in parts.items() if known == name or known.startswith(f"{name}.")}


def _unknown(name: str, parts: dict[str, nn.Module | nn.Parameter]) -> InputError:
    """Names what lies beside the part that was meant: below the longest beginning of its name that there is."""
    known = [part.removeprefix(NETWORK) for part in parts if part != NETWORK.rstrip(".")]
    below = name.removeprefix(NETWORK)
    while below and not any(part.startswith(f"{below}.") for part in known):
        below = below.rpartition(".")[0]
    start = f"{below}." if below else ""
    there = list(dict.fromkeys(start + p.removeprefix(start).split(".")[0] for p in known if p.startswith(start)))
    listed = ", ".join(there[:MOST_NAMES]) + (f" and {len(there) - MOST_NAMES} more" if len(there) > MOST_NAMES else "")
    return InputError(
        f"training.frozen names {name!r}, and the encoder has no module or parameter of that name: "
        f"{'there are ' + listed if there else 'it has no parts'}"
    )
