import pytest
import torch
from torch import nn

from pipeline.config import TransformConfig
from pipeline.encoders.networks.nn2 import NN2, NN3, NN4
from pipeline.encoders.summary import NetworkSummary, summarise

# FaceNet, table 2: output size, parameters (thousands) and multiply-adds (millions), both as printed, except for 4a:
# the paper prints 545K for its 545,536 parameters (biases counted, as in all rows), which is cut off, not rounded.
TABLE_2 = {
    "stem.conv1": ((64, 112, 112), 9, 119),
    "stem.norm1": ((64, 56, 56), 0, 0),
    "stem.inception2": ((192, 56, 56), 115, 360),
    "stem.pool2": ((192, 28, 28), 0, 0),
    "inceptions.3a": ((256, 28, 28), 164, 128),
    "inceptions.3b": ((320, 28, 28), 228, 179),
    "inceptions.3c": ((640, 14, 14), 398, 108),
    "inceptions.4a": ((640, 14, 14), 546, 107),
    "inceptions.4b": ((640, 14, 14), 595, 117),
    "inceptions.4c": ((640, 14, 14), 654, 128),
    "inceptions.4d": ((640, 14, 14), 722, 142),
    "inceptions.4e": ((1024, 7, 7), 717, 56),
    "inceptions.5a": ((1024, 7, 7), 1.6e3, 78),
    "inceptions.5b": ((1024, 7, 7), 1.6e3, 78),
    "head": ((128,), 131, 0.1),
}


def summary_of(network_class: type[NN2], side: int) -> NetworkSummary:
    """In the paper's form."""
    with torch.device("meta"):
        network = network_class(3, 128, side, side, norm="lrn")
    return summarise(network, TransformConfig(height=side, width=side, channels=3))


@pytest.fixture(scope="module")
def nn2() -> NetworkSummary:
    return summary_of(NN2, 224)


@pytest.mark.parametrize("name", TABLE_2)
def test_each_row_of_nn2_has_the_output_and_the_counts_that_the_paper_prints(name: str, nn2: NetworkSummary) -> None:
    shape, thousands, millions = TABLE_2[name]
    layer = nn2[name]
    assert layer.output_shape == shape
    # Printed figures are rounded: to a thousand or, of 5a and 5b, to a tenth of a million.
    assert layer.parameters / 1e3 == pytest.approx(thousands, abs=50 if thousands >= 1e3 else 0.5)
    assert layer.multiply_adds / 1e6 == pytest.approx(millions, abs=0.05 if millions == 0.1 else 0.5)


def test_nn2_in_total_has_7_and_a_half_million_parameters_and_a_billion_and_6_multiply_adds(
    nn2: NetworkSummary,
) -> None:
    assert round(nn2.parameters / 1e6, 1) == 7.5
    assert round(nn2.multiply_adds / 1e9, 1) == 1.6


def test_nn2_with_batch_normalisation_agrees_with_the_count_of_openface(nn2: NetworkSummary) -> None:
    """OpenFace (docs/models-and-accuracies.md) keeps the biases: 7,472,144. Ours leaves one out for each channel."""
    with torch.device("meta"):
        batch = NN2(3, 128, 224, 224, norm="batch")
    channels = sum(module.num_features for module in batch.modules() if isinstance(module, nn.BatchNorm2d))
    count = sum(parameter.numel() for parameter in batch.parameters())
    assert count == 7_472_144 - channels == nn2.parameters + channels


def test_nn3_is_nn2_at_160_pixels(nn2: NetworkSummary) -> None:
    nn3 = summary_of(NN3, 160)
    assert nn3.parameters == nn2.parameters
    assert nn3["inceptions"].output_shape == (1024, 5, 5)
    assert nn3.multiply_adds < 0.52 * nn2.multiply_adds


def test_nn4_has_the_multiply_adds_of_the_paper() -> None:
    nn4 = summary_of(NN4, 96)
    assert round(nn4.multiply_adds / 1e6) == 285
    assert nn4["inceptions"].output_shape == (896, 3, 3)


def test_nn4_has_no_5x5_convolution_from_4e_on() -> None:
    with torch.device("meta"):
        network = NN4(1, 128, 96, 96)
    having = {
        name
        for name, module in network.inceptions.named_children()
        if any(isinstance(part, nn.Conv2d) and part.kernel_size == (5, 5) for part in module.modules())
    }
    assert having == {"3a", "3b", "3c", "4a", "4b", "4c", "4d"}


@pytest.mark.parametrize("network_class", [NN2, NN3, NN4])
def test_lrn_stands_in_two_places_and_batch_norm_behind_every_convolution(network_class: type[NN2]) -> None:
    with torch.device("meta"):
        paper = network_class(3, 128, 96, 96, norm="lrn")
        batch = network_class(3, 128, 96, 96)

    def count(network: nn.Module, kind: type[nn.Module]) -> int:
        return sum(isinstance(module, kind) for module in network.modules())

    assert (count(paper, nn.LocalResponseNorm), count(paper, nn.BatchNorm2d)) == (2, 0)
    assert (count(batch, nn.LocalResponseNorm), count(batch, nn.BatchNorm2d)) == (0, count(batch, nn.Conv2d))
