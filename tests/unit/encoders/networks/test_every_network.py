"""What every registered network of images promises; real weights, at image sizes that a quick test can afford."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import EncoderConfig, TransformConfig
from pipeline.encoders.registry import NETWORKS, initial_encoder

SIDES = {"small_cnn": 32, "nn1": 64, "nn2": 96, "nn3": 96, "nn4": 96, "nns1": 64, "nns2": 96, "zf96": 96}
WITH_NORMS = ("nn1", "nn2", "nn3", "nn4", "zf96")
CASES: list[tuple[str, dict[str, str]]] = [(name, {}) for name in SIDES] + [
    (name, {"norm": "lrn"}) for name in WITH_NORMS
]


def smooth_images(count: int, channels: int, side: int) -> Tensor:
    noise = torch.rand(count, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return nn.functional.interpolate(noise, size=(side, side), mode="bilinear")[:, :channels]


def test_no_network_is_left_out_here() -> None:
    assert set(SIDES) == set(NETWORKS) - {"identity"}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("embedding_dim", [64, 128, 256, 512])
@pytest.mark.parametrize("name", SIDES)
def test_grey_and_rgb_images_give_vectors_of_every_length(name: str, embedding_dim: int, channels: int) -> None:
    side = SIDES[name]
    with torch.device("meta"):
        network = NETWORKS[name](channels, embedding_dim, side, side).eval()
        assert network(torch.zeros(2, channels, side, side)).shape == (2, embedding_dim)


@pytest.mark.parametrize(
    ("name", "sizes", "options"),
    [
        ("nn2", [(1, 1), (33, 97), (250, 250)], {}),
        ("nns1", [(32, 32), (33, 100), (165, 165), (250, 250)], {}),
        ("nns2", [(64, 64), (65, 130), (140, 116), (250, 250)], {}),
        *(
            ("small_cnn", [(1, 1), (17, 40), (32, 32), (33, 32), (100, 70)], {"norm": norm})
            for norm in ("batch", "group")
        ),
    ],
)
def test_every_size_from_the_smallest_on_gives_one_vector_an_image(
    name: str, sizes: list[tuple[int, int]], options: dict[str, str]
) -> None:
    for height, width in sizes:
        with torch.device("meta"):
            network = NETWORKS[name](3, 64, height, width, **options).eval()
            assert network(torch.zeros(2, 3, height, width)).shape == (2, 64)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_an_untrained_encoder_keeps_different_images_apart(name: str, options: dict[str, str]) -> None:
    """The first generation is mined from it: the audit refuses a spread below 1e-4."""
    side = SIDES[name]
    transform = TransformConfig(height=side, width=side, channels=3)
    encoder = initial_encoder(EncoderConfig(name=name, options=options), transform, seed=0).eval()
    with torch.no_grad():
        embeddings = encoder(smooth_images(16, 3, side))
    spread = (embeddings - embeddings.mean(dim=0)).square().sum(dim=1).mean()
    assert float(spread) > 1e-3


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(name: str, options: dict[str, str]) -> None:
    side = SIDES[name]
    transform = TransformConfig(height=side, width=side, channels=1)
    encoder = initial_encoder(EncoderConfig(name=name, embedding_dim=16, options=options), transform, seed=0).train()
    encoder(smooth_images(4, 1, side))[:, 0].sum().backward()
    gradients = {parameter_name: parameter.grad for parameter_name, parameter in encoder.named_parameters()}
    assert [n for n, gradient in gradients.items() if gradient is None or not gradient.any()] == []
    assert [n for n, gradient in gradients.items() if gradient is not None and not gradient.isfinite().all()] == []
