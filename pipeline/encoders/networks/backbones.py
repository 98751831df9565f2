"""Backbones of torchvision and timm, where these are installed, with a linear head of embedding_dim outputs."""

import difflib
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn

from pipeline.encoders.networks.layers import initialise
from pipeline.errors import InputError

INSTALL = "install it with `pip install -e '.[backbones]'` on every machine of the cluster"

WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Models of torchvision that give several outputs in training unless they are told not to."""

MOST_SUGGESTIONS = 5


def is_backbone(name: str) -> bool:
    """Whether a name has the form ``torchvision/NAME`` or ``timm/NAME``."""
    return name.partition("/")[0] in ("torchvision", "timm") and "/" in name


def find_backbone(name: str) -> Callable[..., nn.Module]:
    """The constructor of a backbone, to be called as every network is: ``(in_channels, embedding_dim, …)``.

    Options go to the package's own constructor; ``height`` and ``width`` do not, because most models take any size:
    where one does not, its own option says the size (``image_size`` of torchvision's, ``img_size`` of timm's).
    Weights are random, and the classifier is replaced by a linear head, drawn as He's with a bias of zero: several
    packaged initialisations begin with a head that maps all images to nearly one point. State dicts have the package's
    names, so that its published weights, as a .safetensors file, fit ``encoder.pretrained``.

    Args:
        name: ``torchvision/NAME`` (classification models) or ``timm/NAME``.

    Raises:
        InputError: The package is missing or broken, or has no such model.
    """
    package, _, model = name.partition("/")
    library = _import(package, name)
    if package == "torchvision":
        known, listing, build = library.models.list_models(module=library.models), "torchvision.models", _torchvision
        is_known = model in known
    else:
        known, listing, build = library.list_models(), "timm", _timm
        is_known = library.is_model(model)
    if not is_known:
        close = difflib.get_close_matches(model, known, MOST_SUGGESTIONS)
        raise InputError(
            f"encoder.name {name!r}: {package} {library.__version__} has no model {model!r}"
            + (f"; close are {', '.join(close)}" if close else "")
            + f"; {listing}.list_models() lists all"
        )

    def construct(
        *,
        in_channels: int,
        embedding_dim: int,
        height: int,
        width: int,
        **options: Any,  # noqa: ANN401  # whatever the model takes
    ) -> nn.Module:
        _refuse_weights(options)
        return build(library, model, in_channels, embedding_dim, options)

    return construct


def _import(package: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise InputError(f"encoder.name {name!r} needs {package} ({error}): {INSTALL}") from error
    except (ImportError, OSError, RuntimeError) as error:  # a torchvision for another torch raises the last
        raise InputError(
            f"encoder.name {name!r}: {package} cannot be imported ({' '.join(str(error).split())[:200]}): install the "
            f"build of it that belongs to torch {torch.__version__}"
        ) from error


def _torchvision(
    library: ModuleType, model: str, in_channels: int, embedding_dim: int, options: dict[str, Any]
) -> nn.Module:
    if model in WITH_AUXILIARY_HEADS:
        options = {"aux_logits": False, "init_weights": True, **options}
    network: nn.Module = library.models.get_model(model, weights=None, num_classes=embedding_dim, **options)
    if in_channels != 3:
        _take_grey(network)
    # In every classification model of torchvision the layer that was registered last is the classifier.
    initialise([layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1])
    return network


def _timm(library: ModuleType, model: str, in_channels: int, embedding_dim: int, options: dict[str, Any]) -> nn.Module:
    network: nn.Module = library.create_model(
        model, pretrained=False, num_classes=embedding_dim, in_chans=in_channels, **options
    )
    classifier: Any = getattr(network, "get_classifier", lambda: None)()
    if classifier is None:
        raise ValueError("it has no classifier that a head could replace")
    for head in classifier if isinstance(classifier, tuple) else (classifier,):
        initialise(head)
    return network


# Options come from manifests too, and some of these would unpickle a file, which can run code.
_WEIGHTS_OPTIONS = (
    "weights",
    "weights_backbone",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "pretrained_strict",
    "checkpoint_path",
    "cache_dir",
    "features_only",
)


def _refuse_weights(options: dict[str, Any]) -> None:
    for option in _WEIGHTS_OPTIONS:
        if option in options:
            raise ValueError(
                f"{option!r} is no option, because no weights are downloaded, and no pickles read: name a local "
                ".safetensors file in encoder.pretrained"
            )


def _take_grey(network: nn.Module) -> None:
    """Makes a network for RGB images one for grey images: as if the same image came in all three channels."""
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    first.weight = nn.Parameter(first.weight.detach().sum(dim=1, keepdim=True))
    first.in_channels = 1
