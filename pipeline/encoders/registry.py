"""From a config to an encoder: registered networks, or any importable one.

B: images (or vectors) in a batch; C, H, W: channels, height and width of an image; D: embedding_dim.
"""

import importlib
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import EncoderConfig, TransformConfig
from pipeline.encoders.networks.backbones import find_backbone, is_backbone
from pipeline.encoders.networks.identity import Identity
from pipeline.encoders.networks.nn2 import NN2, NN3, NN4
from pipeline.encoders.networks.nns import NNS1, NNS2
from pipeline.encoders.networks.small_cnn import SmallCNN
from pipeline.encoders.networks.zeiler_fergus import NN1, ZF96
from pipeline.errors import InputError

NETWORKS: dict[str, type[nn.Module]] = {
    "small_cnn": SmallCNN,
    "nn1": NN1,
    "nn2": NN2,
    "nn3": NN3,
    "nn4": NN4,
    "nns1": NNS1,
    "nns2": NNS2,
    "zf96": ZF96,
    "identity": Identity,
}
"""By name. Each is called with C of its input and D of its output, H and W in pixels, and options of its own."""

NOT_OF_IMAGES = {"identity": "vector"}
"""What those take that take no images."""

IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
CALL_FORM = "Class(in_channels=…, embedding_dim=…, height=…, width=…, **encoder.options)"


class Encoder(nn.Module):
    """A network whose output is L2-normalised, as FaceNet's is (section 3.1)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> Tensor:
        """Encodes a batch.

        A zero or a non-finite output of the network stays what it is, so that the audit before mining can
        name it: nothing here turns a broken embedding into a plausible one.

        Args:
            batch: (B, C, H, W) images, or (B, D) vectors for the identity encoder; float32.

        Returns:
            (B, D) float32 embeddings of length one.
        """
        # Autocast may hand over half precision; the length must be one to float32's precision.
        return F.normalize(self.network(batch).float(), dim=1)


def payload_taken(name: str) -> str | None:
    """The name of the payload that a network of this name takes; None of an import path: nothing is known of it."""
    return NOT_OF_IMAGES.get(name, "image") if name in NETWORKS or is_backbone(name) else None


def build_encoder(config: EncoderConfig, transform: TransformConfig) -> Encoder:
    """Builds the encoder that a config names.

    ``config.name`` is a registered name (``small_cnn``; FaceNet's ``nn1``, ``nn2``, ``nn3``, ``nn4``, ``nns1``,
    ``nns2``; ``zf96``; ``identity``), a backbone of an installed package (``torchvision/NAME``, ``timm/NAME``; see
    `find_backbone`) or an import path ``package.module:Class`` of an nn.Module. Registered or not, the class is called
    as ``Class(in_channels=…, embedding_dim=…, height=…, width=…, **encoder.options)`` and must map a float32 tensor
    (B, C, H, W) to (B, D); normalisation is added here. Weights come from torch's global random state: seed it
    first, or use `initial_encoder`.

    Args:
        config: Name, D and options.
        transform: Gives C, H and W.

    Returns:
        The encoder, on the CPU, in training mode.

    Raises:
        InputError: The name is unknown, cannot be imported or is no nn.Module class; the options do not fit its
            constructor; its output for a batch of two has not the shape (2, D).
    """
    constructor = find_backbone(config.name) if is_backbone(config.name) else _network_class(config.name)
    try:
        network = constructor(
            in_channels=transform.channels,
            embedding_dim=config.embedding_dim,
            height=transform.height,
            width=transform.width,
            **config.options,
        )
    # torch refuses impossible sizes with a RuntimeError, timm and torchvision with an AssertionError.
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"encoder {config.name!r} cannot be built with encoder.options {config.options} for images of "
            f"{_image_size(transform)} ({_one_line(error)}): it is called as {CALL_FORM}"
        ) from error
    if config.name not in NOT_OF_IMAGES and not isinstance(network, Identity):  # they check each batch themselves
        _check_output(network, config, transform)
    return Encoder(network)


def initial_encoder(config: EncoderConfig, transform: TransformConfig, seed: int) -> Encoder:
    """Builds an encoder whose weights depend on the seed alone, and leaves torch's random state as it was.

    Args:
        config: See `build_encoder`.
        transform: See `build_encoder`.
        seed: Seeds torch's CPU generator, from which networks draw their weights.

    Raises:
        InputError: See `build_encoder`.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the GPUs, which are not forked here.
        torch.default_generator.manual_seed(seed)
        return build_encoder(config, transform)


def _network_class(name: str) -> type[nn.Module]:
    if name in NETWORKS:
        return NETWORKS[name]
    if not IMPORT_PATH.fullmatch(name):
        raise InputError(
            f"encoder.name {name!r} is not known: use one of {', '.join(sorted(NETWORKS))}, a backbone "
            "torchvision/NAME or timm/NAME, or an import path package.module:Class of an nn.Module that is called "
            f"as {CALL_FORM}"
        )
    module_name, class_name = name.split(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"encoder.name {name!r} cannot be imported ({error}): install its package on every machine of the "
            "cluster, or put it on PYTHONPATH"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise InputError(f"encoder.name {name!r}: module {module_name!r} has no class {class_name!r}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(
            f"encoder.name {name!r} is not a torch.nn.Module class: it must name one, called as {CALL_FORM}"
        )
    return found


def _check_output(network: nn.Module, config: EncoderConfig, transform: TransformConfig) -> None:
    """Forwards two zero images in evaluation mode, which changes no statistics, and checks the shape."""
    was_training = network.training
    network.eval()
    images = torch.zeros(2, transform.channels, transform.height, transform.width)
    try:
        with torch.no_grad():
            output = network(images)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"encoder {config.name!r} fails on a batch of images of {_image_size(transform)} ({_one_line(error)}): "
            "change transform.height, transform.width or transform.channels to what the network takes"
        ) from error
    expected = (2, config.embedding_dim)
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"encoder {config.name!r} maps two images of {_image_size(transform)} to {got} where {expected} is needed: "
            "it must return one vector of length encoder.embedding_dim an image"
        )
    network.train(was_training)


def _image_size(transform: TransformConfig) -> str:
    return f"{transform.channels}x{transform.height}x{transform.width} (CxHxW)"


def _one_line(error: Exception) -> str:
    """Torch explains over many lines; an error for people is one sentence."""
    return " ".join(str(error).split())[:300]
