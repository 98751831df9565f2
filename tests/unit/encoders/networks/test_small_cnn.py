import pytest
import torch

from pipeline.encoders.networks.small_cnn import SmallCNN


def test_default_network_has_about_half_a_million_parameters() -> None:
    network = SmallCNN(in_channels=1, embedding_dim=128, height=32, width=32)
    assert 300_000 <= sum(parameter.numel() for parameter in network.parameters()) <= 600_000


def test_parameters_do_not_grow_with_images_beyond_32_pixels() -> None:
    sizes = {sum(p.numel() for p in SmallCNN(1, 64, side, side).parameters()) for side in (32, 33, 64, 250)}
    assert len(sizes) == 1


def test_where_a_stroke_lies_changes_the_embedding() -> None:
    torch.manual_seed(0)
    network = SmallCNN(1, 64, 32, 32).eval()
    images = torch.full((2, 1, 32, 32), -1.0)
    images[0, 0, 4:12, 4:12] = 1.0
    images[1, 0, 20:28, 20:28] = 1.0
    first, second = network(images)
    assert (first - second).norm() > 0.05 * first.norm()


def test_group_norm_embeds_an_image_the_same_in_any_training_batch() -> None:
    torch.manual_seed(0)
    network = SmallCNN(1, 16, 32, 32, base_width=8, norm="group").train()
    images = torch.randn(6, 1, 32, 32)
    torch.testing.assert_close(network(images)[:2], network(images[:2]))


@pytest.mark.parametrize("options", [{"norm": "layer"}, {"base_width": 0}, {"base_width": 6, "norm": "group"}])
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"norm|base_width"):
        SmallCNN(1, 16, 32, 32, **options)  # type: ignore[arg-type]
