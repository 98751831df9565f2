import copy
import pickle
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import EncoderConfig, TransformConfig
from pipeline.encoders.frozen import freeze
from pipeline.encoders.registry import Encoder, initial_encoder
from pipeline.errors import InputError

TRANSFORM = TransformConfig(height=16, width=16)


def small_cnn() -> Encoder:
    return initial_encoder(
        EncoderConfig(name="small_cnn", embedding_dim=8, options={"base_width": 8}), TRANSFORM, seed=3
    )


def trainable(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def in_training_mode(module: nn.Module) -> set[str]:
    return {name for name, part in module.named_modules() if part.training}


def train_steps(encoder: nn.Module, num_steps: int = 3) -> None:
    """As the trainer does: training mode before each step, an optimiser of what is trainable, with weight decay."""
    parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    for _ in range(num_steps):
        encoder.train()
        loss = encoder(5 * torch.randn(8, 1, 16, 16) + 2)[:, 0].sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def wrapped_in_sequential(encoder: nn.Module) -> nn.Module:
    return nn.Sequential(encoder)


def compiled(encoder: nn.Module) -> nn.Module:
    return cast(nn.Module, torch.compile(encoder, backend="eager"))


@pytest.mark.parametrize("wrap", [lambda encoder: encoder, wrapped_in_sequential, compiled])
@pytest.mark.parametrize("name", ["features", "network.features"])
def test_training_leaves_frozen_weights_and_statistics_and_changes_the_rest(
    name: str, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    encoder = small_cnn()
    before = copy.deepcopy(encoder.state_dict())
    freeze(encoder, (name,))
    train_steps(wrap(encoder))
    assert changed(before, encoder.state_dict()) == {"network.head.weight", "network.head.bias"}


def test_without_names_everything_is_trained() -> None:
    encoder = small_cnn()
    before = copy.deepcopy(encoder.state_dict())
    freeze(encoder, ())
    train_steps(encoder)
    assert changed(before, encoder.state_dict()) == set(before)


def test_a_name_means_whole_parts_of_names_only() -> None:
    encoder = Encoder(nn.ModuleDict({"block": nn.Linear(2, 2), "block2": nn.Linear(2, 2), "blocks": nn.Linear(2, 2)}))
    freeze(encoder, ("block",))
    names = ("block2", "blocks")
    assert trainable(encoder) == {f"network.{name}.{kind}" for name in names for kind in ("weight", "bias")}


def test_frozen_modules_alone_stay_in_evaluation_mode_and_all_can_be_evaluated() -> None:
    encoder = small_cnn()
    freeze(encoder, ("features.0", "features.3"))
    encoder.train()
    frozen = {f"network.features.{block}{part}" for block in ("0", "3") for part in ("", ".0", ".1", ".2")}
    assert {name for name, _ in encoder.named_modules()} - in_training_mode(encoder) == frozen
    encoder.eval()
    assert in_training_mode(encoder) == set()


def test_frozen_modules_stay_so_when_they_are_told_to_train_themselves() -> None:
    encoder = small_cnn()
    freeze(encoder, ("features",))
    features = encoder.get_submodule("network.features")
    assert features.train() is features
    assert features.get_submodule("0").train(True) is features.get_submodule("0")
    assert in_training_mode(features) == set()


def test_dropout_in_a_frozen_part_draws_nothing() -> None:
    encoder = Encoder(nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 4)))
    freeze(encoder, ("0",))
    encoder.train()
    vectors = torch.randn(4, 8)
    assert torch.equal(encoder(vectors), encoder(vectors))


def test_a_parameter_named_alone_is_frozen_and_its_module_keeps_its_mode() -> None:
    encoder = small_cnn()
    everything = trainable(encoder)
    freeze(encoder, ("features.0.1.weight",))
    encoder.train()
    assert everything - trainable(encoder) == {"network.features.0.1.weight"}
    assert in_training_mode(encoder) == {name for name, _ in encoder.named_modules()}


def test_a_frozen_tied_parameter_is_frozen_under_its_other_name() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    encoder = Encoder(nn.ModuleDict({"first": first, "second": second, "head": nn.Linear(3, 2)}))
    freeze(encoder, ("second",))
    assert trainable(encoder) == {"network.head.weight", "network.head.bias"}


def test_a_copy_of_a_frozen_encoder_is_frozen_and_its_own() -> None:
    encoder = small_cnn()
    freeze(encoder, ("features",))
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        before = copy.deepcopy(encoder.state_dict())
        train_steps(other)
        assert changed(before, other.state_dict()) == {"network.head.weight", "network.head.bias"}
        assert changed(before, encoder.state_dict()) == set()
        encoder.eval()
        other.train()
        assert in_training_mode(encoder) == set()


def test_freezing_twice_is_freezing_both() -> None:
    encoder = small_cnn()
    freeze(encoder, ("features.0",))
    freeze(encoder, ("features.0", "features.1"))
    encoder.train()
    assert not encoder.get_submodule("network.features.0").training
    assert not encoder.get_submodule("network.features.1").training
    assert encoder.get_submodule("network.features.3").training


TOP, BLOCKS = "features, pool, head", "features.0, features.1, features.2, features.3, features.4, features.5"
NO_MODULE = [
    *((name, TOP) for name in ("stem", "network.stem", "feat", "")),
    *((name, BLOCKS) for name in ("features.", "features.9.0")),
    ("head.running_mean", "head.weight, head.bias"),
]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        *((("features", name), rf"names {name!r}.* no module .*: there are {there}$") for name, there in NO_MODULE),
        *(
            (names, r"\['.*'\] leaves no parameter")
            for names in (("network",), ("features", "head"), ("features", "head.weight", "head.bias"))
        ),
    ],
)
def test_a_name_that_means_nothing_and_freezing_everything_are_refused_and_change_nothing(
    names: tuple[str, ...], message: str
) -> None:
    encoder = small_cnn()
    everything = trainable(encoder)
    with pytest.raises(InputError, match=rf"training\.frozen {message}"):
        freeze(encoder, names)
    assert trainable(encoder) == everything
    assert in_training_mode(encoder.train()) == {known for known, _ in encoder.named_modules()}


def test_of_many_names_an_error_lists_the_first() -> None:
    encoder = Encoder(nn.Sequential(*(nn.Linear(2, 2) for _ in range(20))))
    with pytest.raises(InputError, match=r"there are 0, 1, .*, 11 and 8 more$"):
        freeze(encoder, ("20",))


def test_an_encoder_without_parts_has_no_names() -> None:
    encoder = initial_encoder(EncoderConfig(name="identity", embedding_dim=3), TRANSFORM, seed=0)
    with pytest.raises(InputError, match=r"names 'head'.*it has no parts"):
        freeze(encoder, ("head",))
