"""What a network consists of: the output shape, parameters and multiply-adds of each of its modules."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.config import TransformConfig


@dataclass(frozen=True)
class LayerSummary:
    """One module of a network, with all modules inside it.

    Attributes:
        name: Qualified name; empty for the network itself.
        output_shape: Of one image's output, without the batch: (C, H, W) of a map, (D,) of a vector; () if it gives
            something else than one tensor.
        parameters: Trainable or not; running statistics do not count.
        multiply_adds: Of one image, in convolutions and linear layers: an output value costs the size of its filter,
            and one more where there is a bias, as in FaceNet's tables. Products inside attention and
            normalisations do not count.
    """

    name: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class NetworkSummary:
    """A network, module by module, in the order in which it names them; the first is the network itself."""

    layers: tuple[LayerSummary, ...]

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return self.layers[0].parameters

    @property
    def multiply_adds(self) -> int:
        """Of the whole network, for one image."""
        return self.layers[0].multiply_adds

    def __getitem__(self, name: str) -> LayerSummary:
        """The module of that qualified name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def table(self, depth: int = 2) -> str:
        """A table for people.

        Args:
            depth: Levels of modules inside modules that get a line.
        """
        shown = [layer for layer in self.layers if layer.name and layer.name.count(".") < depth]
        rows = [("layer", "output", "parameters", "multiply-adds")]
        for layer in (*shown, self.layers[0]):
            shape = "×".join(map(str, layer.output_shape))
            rows.append((layer.name or "total", shape, f"{layer.parameters:,}", f"{layer.multiply_adds:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {parameters:>{widths[2]}}  {work:>{widths[3]}}"
            for name, shape, parameters, work in rows
        )


def summarise(network: nn.Module, transform: TransformConfig) -> NetworkSummary:
    """Counts while one blank image passes through the network, which stays as it was.

    A network on torch's meta device (built under ``torch.device("meta")``) costs neither memory nor time.

    Args:
        network: With or without the `Encoder` around it, on any device.
        transform: Gives C, H and W of the image.

    Returns:
        The modules that the image passed through.
    """
    names = {module: name for name, module in network.named_modules()}
    shapes: dict[str, tuple[int, ...]] = {}
    work: dict[str, int] = dict.fromkeys(names.values(), 0)

    def note(name: str, module: nn.Module, _inputs: tuple[Tensor, ...], output: object) -> None:
        shapes[name] = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        for part in _self_and_above(name):
            work[part] += _multiply_adds(module, output)

    hooks = [module.register_forward_hook(partial(note, name)) for module, name in names.items()]
    weight = next(network.parameters(), torch.empty(0))
    image = torch.zeros(1, transform.channels, transform.height, transform.width, device=weight.device)
    modes = {module: module.training for module in names}
    try:
        with torch.no_grad():
            network.eval()(image)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return NetworkSummary(
        tuple(
            LayerSummary(name, shapes[name], sum(p.numel() for p in module.parameters()), work[name])
            for module, name in names.items()
            if name in shapes
        )
    )


def _self_and_above(name: str) -> Iterable[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def _multiply_adds(layer: nn.Module, output: object) -> int:
    if not (isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(output, Tensor)):
        return 0
    return output.numel() * (layer.weight[0].numel() + (layer.bias is not None))
