import pytest
import torch
from torch import Tensor, nn

from pipeline.encoders.nns2 import NNS2

PAPER_PARAMETERS = 4.3e6
PAPER_MULTIPLY_ADDS = 20e6


def multiply_adds(network: nn.Module, height: int, width: int) -> int:
    """Counts with forward hooks: each output value of a layer costs the size of its filter."""
    counts: list[int] = []

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        counts.append(output.numel() * layer.weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, height, width))
    return sum(counts)


def test_parameters_and_multiply_adds_are_those_of_the_paper() -> None:
    network = NNS2(in_channels=3, embedding_dim=128, height=140, width=116)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    assert num_parameters == pytest.approx(PAPER_PARAMETERS, rel=0.05)
    assert multiply_adds(network, 140, 116) == pytest.approx(PAPER_MULTIPLY_ADDS, rel=0.05)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 130), (140, 116), (250, 250)])
def test_every_size_from_64_pixels_on_gives_one_vector_an_image(height: int, width: int) -> None:
    network = NNS2(3, 128, height, width).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, height, width)).shape == (2, 128)


def test_smaller_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 64x64 pixels, not 63x64"):
        NNS2(3, 128, 63, 64)


def test_every_parameter_takes_part_in_training() -> None:
    torch.manual_seed(0)
    network = NNS2(3, 128, 64, 64).train()
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
