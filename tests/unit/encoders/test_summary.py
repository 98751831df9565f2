import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import EncoderConfig, TransformConfig
from pipeline.encoders.registry import NETWORKS, build_encoder
from pipeline.encoders.summary import LayerSummary, summarise

PAGE = Path(__file__).parents[3] / "docs" / "networks.md"
TRANSFORM = TransformConfig(height=6, width=8, channels=3)


class Small(nn.Module):
    """Counted by hand below."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 8, 1, groups=2),
        )
        self.head = nn.Linear(8, 5)
        self.unused = nn.Linear(7, 7)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.head(self.body(images).mean(dim=(2, 3)))
        return embeddings


def test_a_small_network_is_counted_as_by_hand() -> None:
    summary = summarise(Small(), TRANSFORM)
    convolution = 3 * 9 * 4  # weights, and 3×4 places
    grouped = (2 + 1) * 8
    assert summary.layers == (
        LayerSummary("", (5,), convolution + 8 + grouped + 45 + 56, 12 * convolution + 12 * grouped + 45),
        LayerSummary("body", (8, 3, 4), convolution + 8 + grouped, 12 * convolution + 12 * grouped),
        LayerSummary("body.0", (4, 3, 4), convolution, 12 * convolution),
        LayerSummary("body.1", (4, 3, 4), 8, 0),
        LayerSummary("body.2", (8, 3, 4), grouped, 12 * grouped),
        LayerSummary("head", (5,), 45, 45),
    )
    assert (summary.parameters, summary.multiply_adds) == (summary[""].parameters, summary[""].multiply_adds)


def test_a_layer_that_is_passed_twice_works_twice_and_has_its_parameters_once() -> None:
    layer = nn.Conv2d(3, 3, 1, bias=False)
    summary = summarise(nn.Sequential(layer, layer), TRANSFORM)
    assert (summary.parameters, summary.multiply_adds) == (9, 2 * 9 * 48)


def test_the_network_stays_as_it_was() -> None:
    network = Small().train()
    network.body[1].eval()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    summarise(network, TRANSFORM)
    assert [m.training for m in (network, network.body, network.body[0], network.body[1])] == [True, True, True, False]
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_the_meta_device_gives_the_same_counts() -> None:
    with torch.device("meta"):
        network = Small()
    assert summarise(network, TRANSFORM) == summarise(Small(), TRANSFORM)


def test_the_table_names_layers_to_the_depth_asked_for_and_the_total() -> None:
    lines = summarise(Small(), TRANSFORM).table(depth=1).splitlines()
    assert [line.split() for line in lines] == [
        ["layer", "output", "parameters", "multiply-adds"],
        ["body", "8×3×4", "140", "1,584"],
        ["head", "5", "45", "45"],
        ["total", "5", "241", "1,629"],
    ]


def test_an_encoder_is_summarised_with_its_normalisation_around_it() -> None:
    transform = TransformConfig()
    encoder = build_encoder(EncoderConfig(embedding_dim=16), transform)
    summary = summarise(encoder, transform)
    assert summary.multiply_adds == summary["network"].multiply_adds > 0
    assert summary.parameters == sum(parameter.numel() for parameter in encoder.parameters())


def test_a_name_that_is_no_module_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        summarise(Small(), TRANSFORM)["tail"]


ROW = re.compile(r"\| `(\w+)` \| (\d+)×(\d+)×(\d) \| (?:`norm: (\w+)`)? ?\| ([\d,]+) \| ([\d,]+) \|")


def rows_of_the_page() -> Iterator[tuple[str, int, int, int, dict[str, str], int, int]]:
    for name, height, width, channels, norm, parameters, work in ROW.findall(PAGE.read_text(encoding="utf-8")):
        options = {"norm": norm} if norm else {}
        counts = int(parameters.replace(",", "")), int(work.replace(",", ""))
        yield name, int(height), int(width), int(channels), options, *counts


@pytest.mark.parametrize("row", list(rows_of_the_page()), ids=lambda row: f"{row[0]}-{row[1]}-{row[3]}-{row[4]}")
def test_the_page_on_networks_says_what_the_code_builds(
    row: tuple[str, int, int, int, dict[str, str], int, int],
) -> None:
    name, height, width, channels, options, parameters, multiply_adds = row
    with torch.device("meta"):
        network = NETWORKS[name](channels, 128, height, width, **options)
    transform = TransformConfig.model_validate({"height": height, "width": width, "channels": channels})
    summary = summarise(network, transform)
    assert (summary.parameters, summary.multiply_adds) == (parameters, multiply_adds)


def test_the_page_on_networks_has_every_network_that_takes_images() -> None:
    assert {row[0] for row in rows_of_the_page()} == set(NETWORKS) - {"identity"}
