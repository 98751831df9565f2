import pytest
import torch
from torch import nn

from pipeline.config import TransformConfig
from pipeline.encoders.networks.layers import PaperNormName
from pipeline.encoders.networks.zeiler_fergus import NN1, ZF96
from pipeline.encoders.summary import NetworkSummary, summarise

# FaceNet, table 1: size-out, parameters (thousands), multiply-adds (millions), both as printed.
TABLE_1 = {
    "features.conv1": ((64, 110, 110), 9, 115),
    "features.pool1": ((64, 55, 55), 0, 0),
    "features.rnorm1": ((64, 55, 55), 0, 0),
    "features.conv2a": ((64, 55, 55), 4, 13),
    "features.conv2": ((192, 55, 55), 111, 335),
    "features.rnorm2": ((192, 55, 55), 0, 0),
    "features.pool2": ((192, 28, 28), 0, 0),
    "features.conv3a": ((192, 28, 28), 37, 29),
    "features.conv3": ((384, 28, 28), 664, 521),
    "features.pool3": ((384, 14, 14), 0, 0),
    "features.conv4a": ((384, 14, 14), 148, 29),
    "features.conv4": ((256, 14, 14), 885, 173),
    "features.conv5a": ((256, 14, 14), 66, 13),
    "features.conv5": ((256, 14, 14), 590, 116),
    "features.conv6a": ((256, 14, 14), 66, 13),
    "features.conv6": ((256, 14, 14), 590, 116),
    "features.pool4": ((256, 7, 7), 0, 0),
    "head.fc1": ((32 * 128,), 103e3, 103),
    "head.fc2": ((32 * 128,), 34e3, 34),
    "head.fc7128": ((128,), 524, 0.5),
}


@pytest.fixture(scope="module")
def nn1() -> NetworkSummary:
    with torch.device("meta"):
        network = NN1(3, 128, 220, 220, norm="lrn")
    return summarise(network, TransformConfig(height=220, width=220, channels=3))


@pytest.mark.parametrize("name", TABLE_1)
def test_each_layer_of_nn1_has_the_output_and_the_counts_that_the_paper_prints(name: str, nn1: NetworkSummary) -> None:
    shape, thousands, millions = TABLE_1[name]
    layer = nn1[name]
    assert layer.output_shape == shape
    # Printed figures are rounded: to a thousand or, of fc1 and fc2, to a million; fc7128's 0.5 M to a tenth.
    assert layer.parameters / 1e3 == pytest.approx(thousands, abs=500 if thousands >= 1e4 else 0.5)
    assert layer.multiply_adds / 1e6 == pytest.approx(millions, abs=0.05 if millions == 0.5 else 0.5)


def test_nn1_in_total_has_140_million_parameters_and_a_billion_and_6_multiply_adds(nn1: NetworkSummary) -> None:
    assert nn1.parameters == 140_025_664
    assert round(nn1.multiply_adds / 1e9, 1) == 1.6


def test_zf96_has_exactly_the_numbers_that_were_published() -> None:
    with torch.device("meta"):
        network = ZF96(1, 128, 96, 96)
    trained = sum(parameter.numel() for parameter in network.parameters())
    statistics = sum(b.numel() for name, b in network.named_buffers() if not name.endswith("num_batches_tracked"))
    assert (trained, statistics, trained + statistics) == (6_705_344, 512, 6_705_856)


def test_zf96_flattens_a_map_of_2304_values() -> None:
    with torch.device("meta"):
        summary = summarise(ZF96(1, 128, 96, 96), TransformConfig(height=96, width=96, channels=1))
    assert summary["features.pool4"].output_shape == (256, 3, 3)
    assert [summary[f"head.{name}"].parameters for name in ("fc1", "fc2", "fc7128")] == [
        2304 * 1024 + 1024,
        1024 * 1024 + 1024,
        1024 * 128 + 128,
    ]


@pytest.mark.parametrize("network_class", [NN1, ZF96])
@pytest.mark.parametrize(("norm", "kind"), [("lrn", nn.LocalResponseNorm), ("batch", nn.BatchNorm2d)])
def test_the_norm_stands_in_two_places_and_there_is_no_other(
    network_class: type[NN1 | ZF96], norm: PaperNormName, kind: type[nn.Module]
) -> None:
    with torch.device("meta"):
        network = network_class(3, 128, 96, 96, norm=norm)
    norms = [m for m in network.modules() if isinstance(m, nn.LocalResponseNorm | nn.BatchNorm2d)]
    assert len(norms) == 2
    assert all(isinstance(module, kind) for module in norms)
    assert norms == [network.features.rnorm1, network.features.rnorm2]


def test_images_beyond_the_papers_are_averaged_down_to_its_cells() -> None:
    with torch.device("meta"):
        sizes = {sum(p.numel() for p in NN1(3, 128, side, side).parameters()) for side in (220, 224, 300)}
    assert len(sizes) == 1
