import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from pipeline.config import EncoderConfig, TransformConfig
from pipeline.encoders.networks.backbones import _refuse_weights, find_backbone, is_backbone
from pipeline.encoders.registry import build_encoder, initial_encoder
from pipeline.encoders.summary import summarise
from pipeline.errors import InputError
from tests.support.refusals import refusal

ENCODER_ONLY = "mobilenetv5_300m_enc"
SMALL = {"torchvision": "torchvision/resnet18", "timm": "timm/resnet18"}


def needed(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision for another torch
        pytest.skip(f"{package} cannot be imported here: {error}")


def transform_of(side: int, channels: int) -> TransformConfig:
    return TransformConfig.model_validate({"height": side, "width": side, "channels": channels})


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("torchvision/resnet18", True),
        ("timm/vit_tiny_patch16_224", True),
        ("timm", False),
        ("resnet18", False),
        ("timm:resnet18", False),
        ("other/resnet18", False),
    ],
)
def test_a_backbone_is_known_by_its_package(name: str, is_one: bool) -> None:
    assert is_backbone(name) is is_one


@pytest.mark.parametrize("package", SMALL)
def test_a_missing_package_is_an_error_that_says_how_to_install_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what import does then is what it does without the package
    with pytest.raises(InputError, match=rf"'{SMALL[package]}' needs {package} .*pip install -e '\.\[backbones\]'"):
        build_encoder(EncoderConfig(name=SMALL[package]), TransformConfig())


def test_a_package_that_fails_when_imported_is_an_error_that_names_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"timm cannot be imported \(operator .* not exist\): .* torch \d+\.\d+"):
        find_backbone("timm/resnet18")


@pytest.mark.parametrize("package", SMALL)
def test_an_unknown_model_is_answered_with_close_names(package: str) -> None:
    needed(package)
    with pytest.raises(
        InputError, match=rf"{package} [\d.+cu]+ has no model 'resnet81'; close are .*resnet18.* lists all"
    ):
        build_encoder(EncoderConfig(name=f"{package}/resnet81"), TransformConfig())


def test_a_model_that_would_be_fetched_from_a_hub_is_unknown() -> None:
    needed("timm")
    with pytest.raises(InputError, match="has no model 'hf-hub:timm/resnet18'"):
        find_backbone("timm/hf-hub:timm/resnet18")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "name",
    [
        "torchvision/resnet18",
        "torchvision/mobilenet_v3_small",
        "torchvision/squeezenet1_1",
        "torchvision/shufflenet_v2_x0_5",
        "timm/resnet18",
        "timm/mobilenetv3_small_100",
        "timm/convnext_atto",
    ],
)
def test_a_backbone_embeds_keeps_images_apart_and_ends_in_a_linear_head(name: str, channels: int) -> None:
    needed(name.partition("/")[0])
    side = 64
    encoder = initial_encoder(EncoderConfig(name=name, embedding_dim=24), transform_of(side, channels), seed=0).eval()
    noise = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = nn.functional.interpolate(noise, size=(side, side), mode="bilinear")[:, :channels]
    with torch.no_grad():
        embeddings = encoder(images)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(8))
    assert float((embeddings - embeddings.mean(dim=0)).square().sum(dim=1).mean()) > 1e-3
    heads = [m for m in encoder.modules() if isinstance(m, nn.Linear | nn.Conv2d) and len(m.weight) == 24]
    assert heads[-1].bias is not None
    assert not heads[-1].bias.any()


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_torchvisions_models_with_auxiliary_heads_give_one_output_in_training(name: str) -> None:
    needed("torchvision")
    with torch.device("meta"):
        network = find_backbone(f"torchvision/{name}")(in_channels=3, embedding_dim=8, height=128, width=128)
        assert network.train()(torch.zeros(2, 3, 128, 128)).shape == (2, 8)


def test_a_grey_image_gives_what_it_gives_in_all_three_channels_of_torchvisions_network() -> None:
    needed("torchvision")
    networks = [
        initial_encoder(EncoderConfig(name="torchvision/resnet18", embedding_dim=8), transform_of(32, channels), seed=3)
        for channels in (1, 3)
    ]
    grey = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        one, three = (
            network.eval()(images) for network, images in zip(networks, (grey, grey.expand(-1, 3, -1, -1)), strict=True)
        )
    torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-5)


def test_counts_are_those_that_torchvision_publishes() -> None:
    library = needed("torchvision")
    published = library.models.ResNet18_Weights.IMAGENET1K_V1.meta
    with torch.device("meta"):
        network = find_backbone("torchvision/resnet18")(in_channels=3, embedding_dim=1000, height=224, width=224)
    summary = summarise(network, transform_of(224, 3))
    assert summary.parameters == published["num_params"]
    assert summary.multiply_adds / 1e9 == pytest.approx(published["_ops"], abs=1e-3)


def test_options_reach_the_package() -> None:
    needed("timm")
    with torch.device("meta"):
        network = find_backbone("timm/vit_tiny_patch16_224")(
            in_channels=1, embedding_dim=8, height=96, width=96, img_size=(96, 96), depth=2
        )
        assert network(torch.zeros(2, 1, 96, 96)).shape == (2, 8)
    assert len(list(network.get_submodule("blocks").children())) == 2


@pytest.mark.parametrize("package", SMALL)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrained": True}, "'pretrained' is no option, because no weights are downloaded: .*encoder.pretrained"),
        (
            {"checkpoint_path": "x.pth"},
            "'checkpoint_path' is no option, because no weights are downloaded, and no pickle",
        ),
        ({"weights": "DEFAULT"}, "'weights' is no option, because no weights are downloaded: .*encoder.pretrained"),
        ({"no_such_option": 1}, "cannot be built with encoder.options .*no_such_option"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_sentence(
    package: str, options: dict[str, object], message: str
) -> None:
    needed(package)
    config = EncoderConfig(name=SMALL[package], options=options)
    assert re.search(message, refusal(lambda: build_encoder(config, TransformConfig())))


@pytest.mark.parametrize("name", ["torchvision/vit_b_32", "timm/vit_tiny_patch16_224"])
def test_an_image_of_a_size_that_a_transformer_does_not_take_is_refused(name: str) -> None:
    needed(name.partition("/")[0])
    with pytest.raises(InputError, match=rf"'{name}' fails on a batch of images of 1x32x32 .*224.*transform.height"):
        build_encoder(EncoderConfig(name=name), TransformConfig())


def test_a_model_without_a_classifier_is_refused() -> None:
    if not needed("timm").is_model(ENCODER_ONLY):
        pytest.skip(f"this timm has no {ENCODER_ONLY}")
    with torch.device("meta"), pytest.raises(ValueError, match="no classifier that a head could replace"):
        find_backbone(f"timm/{ENCODER_ONLY}")(in_channels=3, embedding_dim=8, height=64, width=64)


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "weights_backbone", "cache_dir"])
def test_an_option_that_could_read_a_pickle_or_the_network_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"'{option}' is no option"):
        _refuse_weights({option: "x.pth"})
