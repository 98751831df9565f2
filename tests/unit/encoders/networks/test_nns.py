import pytest
import torch

from pipeline.config import TransformConfig
from pipeline.encoders.networks.nns import NNS1, NNS2, SmallInception
from pipeline.encoders.summary import summarise


@pytest.mark.parametrize(
    ("network_class", "height", "width", "paper_parameters", "paper_multiply_adds"),
    [(NNS1, 165, 165, 26e6, 220e6), (NNS2, 140, 116, 4.3e6, 20e6)],
)
def test_parameters_and_multiply_adds_are_those_of_the_paper(
    network_class: type[SmallInception],
    height: int,
    width: int,
    paper_parameters: float,
    paper_multiply_adds: float,
) -> None:
    with torch.device("meta"):
        network = network_class(3, 128, height, width)
    summary = summarise(network, TransformConfig(height=height, width=width, channels=3))
    assert summary.parameters == pytest.approx(paper_parameters, rel=0.03)
    assert summary.multiply_adds == pytest.approx(paper_multiply_adds, rel=0.03)


@pytest.mark.parametrize(("network_class", "side"), [(NNS1, 32), (NNS2, 64)])
def test_smaller_images_are_refused(network_class: type[SmallInception], side: int) -> None:
    with pytest.raises(ValueError, match=rf"at least {side}x{side} pixels, not {side - 1}x{side}"):
        network_class(3, 128, side - 1, side)


def test_the_names_in_a_checkpoint_of_nns2_are_those_of_its_first_version() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in NNS2(3, 128, 140, 116).state_dict().items()}
    assert len(shapes) == 230
    assert shapes["stem.0.0.weight"] == (16, 3, 7, 7)
    assert shapes["inceptions.0.branches.0.0.weight"] == (16, 16, 1, 1)
    assert shapes["inceptions.1.branches.0.1.0.weight"] == (48, 24, 3, 3)
    assert shapes["inceptions.6.branches.3.1.1.running_mean"] == (48,)
    assert shapes["head.0.weight"] == (896, 3456)
    assert shapes["head.3.bias"] == (128,)
