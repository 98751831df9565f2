import re

import pytest
import torch

from pipeline.config import EncoderConfig, TransformConfig
from pipeline.encoders.registry import build_encoder, initial_encoder
from pipeline.errors import InputError
from tests.support.refusals import refusal

HERE = "tests.unit.encoders.own_networks"
TRANSFORM = TransformConfig(height=12, width=10, channels=1)


@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "under autocast"])
@pytest.mark.parametrize(
    ("name", "height", "width", "channels"),
    [("small_cnn", 32, 32, 1), ("nns2", 140, 116, 3), (f"{HERE}:FlatLinear", 12, 10, 1)],
)
def test_output_is_float32_of_length_one(name: str, height: int, width: int, channels: int, autocast: bool) -> None:
    transform = TransformConfig(height=height, width=width, channels=channels)
    encoder = initial_encoder(EncoderConfig(name=name, embedding_dim=24), transform, seed=1).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        embeddings = encoder(torch.randn(5, channels, height, width))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(5))


def test_identity_normalises_vectors_and_changes_nothing_else() -> None:
    encoder = build_encoder(EncoderConfig(name="identity", embedding_dim=3), TRANSFORM)
    vectors = torch.tensor([[3.0, 0.0, 4.0], [0.0, -2.0, 0.0]])
    torch.testing.assert_close(encoder(vectors), torch.tensor([[0.6, 0.0, 0.8], [0.0, -1.0, 0.0]]))


@pytest.mark.parametrize("shape", [(2, 4), (2, 1, 12, 10)])
def test_identity_refuses_what_is_no_vector_of_its_length(shape: tuple[int, ...]) -> None:
    encoder = build_encoder(EncoderConfig(name="identity", embedding_dim=3), TRANSFORM)
    with pytest.raises(InputError, match=r"embedding_dim = 3.*encoder\.embedding_dim"):
        encoder(torch.zeros(shape))


def test_zero_output_stays_zero_and_is_never_made_nan() -> None:
    encoder = build_encoder(EncoderConfig(name=f"{HERE}:Zero", embedding_dim=3), TRANSFORM)
    assert torch.equal(encoder(torch.ones(2, 1, 12, 10)), torch.zeros(2, 3))


def test_non_finite_output_is_not_hidden() -> None:
    encoder = build_encoder(EncoderConfig(name="identity", embedding_dim=2), TRANSFORM)
    embeddings = encoder(torch.tensor([[float("nan"), 1.0], [1.0, 0.0]]))
    assert not embeddings[0].isfinite().all()
    assert torch.equal(embeddings[1], torch.tensor([1.0, 0.0]))


def test_options_reach_the_constructor() -> None:
    config = EncoderConfig(name=f"{HERE}:FlatLinear", embedding_dim=4, options={"bias": False})
    assert set(build_encoder(config, TRANSFORM).state_dict()) == {"network.linear.weight"}


@pytest.mark.parametrize("name", ["small_cnn", f"{HERE}:FlatLinear"])
def test_a_new_encoder_is_in_training_mode(name: str) -> None:
    encoder = build_encoder(EncoderConfig(name=name), TRANSFORM)
    assert all(module.training for module in encoder.modules())


def test_the_check_of_the_output_leaves_batch_statistics_alone() -> None:
    state = build_encoder(EncoderConfig(), TRANSFORM).state_dict()
    seen = [count for name, count in state.items() if name.endswith("num_batches_tracked")]
    assert seen
    assert all(int(count) == 0 for count in seen)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    config = EncoderConfig()
    torch.manual_seed(1)
    first = initial_encoder(config, TRANSFORM, seed=5).state_dict()
    torch.manual_seed(2)
    again = initial_encoder(config, TRANSFORM, seed=5).state_dict()
    other = initial_encoder(config, TRANSFORM, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.head.weight"], other["network.head.weight"])


def test_building_from_a_seed_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    initial_encoder(EncoderConfig(), TRANSFORM, seed=5)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "resnet",
            {},
            r"'resnet' is not known: use one of identity, nn1, nn2, nn3, nn4, nns1, nns2, small_cnn, zf96, a backbone "
            r"torchvision/NAME or timm/NAME, or .* package\.module:Class",
        ),
        ("os.system", {}, r"not known"),
        ("no_such_package.x:Net", {}, r"cannot be imported \(No module named 'no_such_package'\)"),
        (f"{HERE}:Missing", {}, r"has no class 'Missing'"),
        (f"{HERE}:NotAModule", {}, r"is not a torch\.nn\.Module class"),
        ("os:getcwd", {}, r"is not a torch\.nn\.Module class"),
        ("small_cnn", {"depth": 3}, r"cannot be built with encoder\.options .*depth"),
        ("small_cnn", {"norm": "layer"}, r"cannot be built with encoder\.options .*norm must be"),
        ("small_cnn", {"height": 64}, r"cannot be built with encoder\.options .*height"),
        ("nns1", {}, r"at least 32x32 pixels, not 12x10"),
        ("nns2", {}, r"at least 64x64 pixels, not 12x10"),
        ("nn2", {"norm": "group"}, r"norm must be 'batch' or 'lrn', not 'group'"),
        ("zf96", {"norm": "group"}, r"norm must be 'batch' or 'lrn', not 'group'"),
        ("tensorflow/resnet18", {}, r"'tensorflow/resnet18' is not known"),
        (f"{HERE}:OneTooMany", {}, r"maps two images of 1x12x10 \(CxHxW\) to \(2, 17\) where \(2, 16\) is needed"),
        (f"{HERE}:TwoOutputs", {}, r"to tuple where \(2, 16\) is needed"),
        (f"{HERE}:FixedSize", {}, r"fails on a batch of images of 1x12x10 .*transform\.height"),
    ],
)
def test_unusable_encoders_are_refused_in_one_sentence_and_classes_with_how_they_are_called(
    name: str, options: dict[str, object], message: str
) -> None:
    config = EncoderConfig(name=name, embedding_dim=16, options=options)
    found = refusal(lambda: build_encoder(config, TRANSFORM))
    assert re.search(message, found)
    if name in ("resnet", f"{HERE}:NotAModule") or "depth" in options:
        assert "Class(in_channels=…, embedding_dim=…, height=…, width=…, **encoder.options)" in found
