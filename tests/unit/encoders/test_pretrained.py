import hashlib
import json
import pickle
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.config import EncoderConfig, RunConfig
from pipeline.encoders.checkpoints import (
    CheckpointManifest,
    check_architecture,
    checkpoints,
    load_encoder,
    weights_digest,
)
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.encoders.registry import Encoder, initial_encoder
from pipeline.errors import CorruptDataError
from pipeline.storage.workspace import Workspace
from tests.support.refusals import refusal
from tests.unit.encoders.own_networks import FlatLinear
from tests.unit.encoders.samples import ENCODER, TRANSFORM, checkpoint, trained_encoder

CORPUS = "f" * 64
SEED = 5

State = dict[str, Tensor]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(str(tmp_path / "workspace"), "main")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def state_of(encoder: nn.Module) -> State:
    return {name: tensor.detach().contiguous() for name, tensor in encoder.state_dict().items()}


def save_file(state: State, path: Path) -> str:
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return str(path)


def publish(
    workspace: Workspace, run: str, step: int, encoder: nn.Module, config: EncoderConfig = ENCODER
) -> CheckpointManifest:
    run_config = RunConfig(encoder=config, transform=TRANSFORM, seed=7)
    return checkpoint(Workspace(workspace.store, run), step, encoder, run_config, corpus_fingerprint=CORPUS)


def start_from(
    pretrained: str | None, workspace: Workspace, config: EncoderConfig = ENCODER, corpus: str = CORPUS
) -> Encoder:
    config = config.model_copy(update={"pretrained": pretrained})
    return pretrained_encoder(config, TRANSFORM, SEED, workspace, corpus)


def same(first: State, second: State) -> set[str]:
    return {name for name, tensor in first.items() if name in second and torch.equal(tensor, second[name])}


def assert_same(first: nn.Module | State, second: nn.Module) -> None:
    """Every tensor of the first has the same values in the second."""
    state = state_of(first) if isinstance(first, nn.Module) else first
    assert same(state, state_of(second)) == set(state)


def refused(pretrained: str | Path, workspace: Workspace, config: EncoderConfig = ENCODER) -> str:
    message = refusal(lambda: start_from(str(pretrained), workspace, config))
    assert message.startswith("encoder.pretrained")
    return message


def test_without_the_setting_it_is_the_initial_encoder(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_same(initial_encoder(ENCODER, TRANSFORM, SEED), start_from(None, workspace))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("prefix", ["network.", ""])
def test_a_file_gives_every_weight_and_statistic_with_or_without_the_prefix(
    workspace: Workspace, file: Path, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    state = state_of(trained_encoder())
    save_file({prefix + name.removeprefix("network."): tensor for name, tensor in state.items()}, file)
    assert_same(state, start_from(str(file), workspace))
    assert capsys.readouterr().err == f"encoder: {len(state)} of {len(state)} tensors start from {file}\n"


def test_a_home_folder_is_written_as_a_tilde(workspace: Workspace, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    encoder = trained_encoder()
    save_file(state_of(encoder), file)
    assert_same(encoder, start_from("~/weights.safetensors", workspace))


def test_a_run_and_step_give_the_weights_of_that_checkpoint_and_a_run_alone_those_of_its_newest(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = trained_encoder(), initial_encoder(ENCODER, TRANSFORM, seed=9)
    published = publish(workspace, "teacher", 300, older)
    publish(workspace, "teacher", 600, newer)
    encoder = start_from("teacher:300", workspace)
    assert_same(older, encoder)
    # Equal weights have equal digests, so the embeddings that the other run computed are found again.
    assert weights_digest(ENCODER, encoder.state_dict()) == published.weights_digest
    assert "tensors start from run 'teacher' step 300\n" in capsys.readouterr().err
    assert_same(newer, start_from("teacher", workspace))
    assert "run 'teacher' step 600\n" in capsys.readouterr().err


def test_a_head_of_another_width_keeps_its_initial_values_and_is_named(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ENCODER.model_copy(update={"embedding_dim": 32})
    publish(workspace, "teacher", 300, trained_encoder())
    state = state_of(start_from("teacher:300", workspace, other))
    initial = state_of(initial_encoder(other, TRANSFORM, SEED))
    head = {"network.head.weight", "network.head.bias"}
    assert same(state_of(trained_encoder()), state) >= {name for name in state if name.endswith("0.weight")}
    assert same(initial, state) & head == head
    assert not same(initial, state) & {name for name in state if name.endswith("running_mean")}
    assert capsys.readouterr().err == (
        f"encoder: {len(state) - 2} of {len(state)} tensors start from run 'teacher' step 300; the others keep their "
        "initial values: head.weight (16x128 there, 32x128 here), head.bias (16 there, 32 here)\n"
    )


def test_what_is_not_there_and_what_has_no_place_is_said_and_integers_are_no_weights(
    workspace: Workspace, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = state_of(trained_encoder())
    state["network.head.weight"] = (100 * state["network.head.weight"]).to(torch.int8)
    del state["network.head.bias"]
    state["classifier.weight"] = torch.ones(3)
    start_from(save_file(state, file), workspace)
    assert capsys.readouterr().err.endswith(
        "; the others keep their initial values: head.weight (int8 there, float32 here), head.bias (not there); "
        "unused: 1 of those there\n"
    )


def test_of_many_tensors_that_keep_their_values_the_first_are_named(
    workspace: Workspace, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {name: tensor.detach() for name, tensor in trained_encoder().named_parameters()}
    start_from(save_file(parameters, file), workspace)
    assert "features.0.1.running_mean (not there), " in (said := capsys.readouterr().err)
    assert said.count("(not there)") == 8
    assert said.endswith(" and 4 more\n")


def test_weights_for_fewer_than_half_of_the_trainable_tensors_are_refused(workspace: Workspace, file: Path) -> None:
    state = state_of(trained_encoder(ENCODER.model_copy(update={"options": {"base_width": 16}})))
    message = refused(save_file(state, file), workspace)
    assert "weights.safetensors has only 1 of the 14 trainable tensors of encoder 'small_cnn'" in message
    assert "(there: features.0.0.weight 16x1x3x3, features.0.1.bias 16, features.0.1.running_mean 16; " in message
    assert "wanted: features.0.0.weight 8x1x3x3, features.0.1.weight 8, features.0.1.bias 8): " in message


def test_half_of_the_trainable_tensors_is_enough(workspace: Workspace, file: Path) -> None:
    parameters = [(name, tensor.detach()) for name, tensor in trained_encoder().named_parameters()]
    assert len(parameters) == 14
    start_from(save_file(dict(parameters[:7]), file), workspace)
    assert "only 6 of the 14" in refused(save_file(dict(parameters[:6]), file), workspace)


def test_an_encoder_without_weights_has_nothing_to_start_from(workspace: Workspace, file: Path) -> None:
    save_file({"a": torch.ones(2)}, file)
    assert "(there: a 2; wanted: nothing else)" in refused(file, workspace, EncoderConfig(name="identity"))


def test_floats_of_another_width_are_converted(workspace: Workspace, file: Path) -> None:
    state = state_of(trained_encoder())
    halves = {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    loaded = start_from(save_file(halves, file), workspace)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32, torch.int64}
    assert_same({name: tensor.to(state[name].dtype) for name, tensor in halves.items()}, loaded)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_refused(workspace: Workspace, file: Path, value: float) -> None:
    state = state_of(trained_encoder()) | {"network.head.bias": torch.full((16,), value, dtype=torch.float64)}
    assert "values in head.bias that are not finite" in refused(save_file(state, file), workspace)


class Nested(FlatLinear):
    """Has a part that is called as an encoder's network is."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        super().__init__(in_channels, embedding_dim, height, width)
        self.network = nn.Linear(1, embedding_dim)
        self.weight = nn.Parameter(torch.zeros(embedding_dim))


class Tied(FlatLinear):
    """Two names for one weight."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        super().__init__(in_channels, embedding_dim, height, width)
        self.second = self.linear


@pytest.mark.parametrize("prefix", ["network.", ""])
def test_a_part_that_is_called_network_is_not_taken_for_the_prefix(
    workspace: Workspace, file: Path, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    config = EncoderConfig(name=f"{__name__}:Nested", embedding_dim=4)
    state = state_of(initial_encoder(config, TRANSFORM, seed=3))
    save_file({prefix + key.removeprefix("network."): tensor for key, tensor in state.items()}, file)
    assert_same(state, start_from(str(file), workspace, config))
    assert "5 of 5 tensors" in capsys.readouterr().err


def test_one_name_of_a_tied_weight_is_enough(
    workspace: Workspace, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EncoderConfig(name=f"{__name__}:Tied", embedding_dim=4)
    encoder = initial_encoder(config, TRANSFORM, seed=3)
    safetensors.torch.save_model(encoder.network, str(file))
    assert len(safetensors.torch.load_file(file)) == 2
    assert_same(encoder, start_from(str(file), workspace, config))
    assert capsys.readouterr().err.endswith(f"4 of 4 tensors start from {file}\n")


@pytest.mark.parametrize("name", ["resnet.pt", "resnet.pth", "pytorch_model.bin", "last.CKPT", "weights.pkl"])
def test_a_pickle_is_refused_unread_with_the_way_to_convert_it(workspace: Workspace, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
    message = refused(tmp_path / name, workspace)
    assert name in message and "is a pickle" in message
    assert "safetensors.torch.save_file(torch.load(FILE, weights_only=True)" in message


@pytest.mark.parametrize(
    ("pretrained", "words"),
    [
        ("s3://bucket/weights.safetensors", "is not a local file: copy it"),
        ("https://host/weights.safetensors", "is not a local file: copy it"),
        ("nowhere/weights.safetensors", "there is no such file"),
        ("models/resnet", "is neither a file nor a checkpoint: name a local .safetensors file, or RUN:STEP"),
        ("teacher:last", "is neither a file nor a checkpoint"),
        ("", "is neither a file nor a checkpoint"),
        ("teacher", "run 'teacher' has no checkpoint in {uri}; train it first"),
        ("teacher:300", "run 'teacher' has no checkpoint in {uri}; train it first"),
    ],
)
def test_weights_that_are_nowhere_are_refused_with_what_can_be_named(
    workspace: Workspace, pretrained: str, words: str
) -> None:
    message = refused(pretrained, workspace)
    assert message.startswith(f"encoder.pretrained {pretrained!r}")
    assert words.format(uri=workspace.store.uri) in message


def test_a_step_that_was_not_published_is_refused_with_those_that_were(workspace: Workspace) -> None:
    publish(workspace, "teacher", 300, trained_encoder())
    message = refused("teacher:600", workspace)
    assert message == "encoder.pretrained 'teacher:600': run 'teacher' has no checkpoint 600; choose one of [300]"


def test_a_file_that_is_not_safetensors_and_a_folder_are_refused(workspace: Workspace, file: Path) -> None:
    for content in (b"", b"garbage", pickle.dumps({"a": 1})):
        file.write_bytes(content)
        assert "cannot be read as safetensors" in refused(file, workspace)
    file.unlink()
    file.mkdir()
    assert "there is no such file" in refused(file, workspace)


def test_a_damaged_checkpoint_is_not_started_from(workspace: Workspace, tmp_path: Path) -> None:
    manifest = publish(workspace, "teacher", 300, trained_encoder())
    path = tmp_path / "workspace" / manifest.parts_of("encoder")[0].key
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptDataError, match="SHA-256"):
        start_from("teacher:300", workspace)


def test_weights_other_than_those_of_the_digest_are_not_started_from(workspace: Workspace, tmp_path: Path) -> None:
    manifest = publish(workspace, "teacher", 300, trained_encoder())
    path = tmp_path / "workspace" / checkpoints(Workspace(workspace.store, "teacher")).manifest_key(300)
    path.write_text(manifest.model_copy(update={"weights_digest": "0" * 64}).model_dump_json())
    with pytest.raises(CorruptDataError, match="do not have the digest"):
        start_from("teacher:300", workspace)


def test_a_checkpoint_of_another_corpus_is_remarked_on_unless_it_is_untrained(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(workspace, "teacher", 0, trained_encoder())
    publish(workspace, "teacher", 300, trained_encoder())
    start_from("teacher:300", workspace)
    start_from("teacher:0", workspace, corpus="e" * 64)
    assert "another corpus" not in capsys.readouterr().err
    start_from("teacher:300", workspace, corpus="e" * 64)
    assert "note: run 'teacher' step 300, which encoder.pretrained names, was trained on" in capsys.readouterr().err


def test_torchs_random_state_stays_as_it_was(workspace: Workspace, file: Path) -> None:
    save_file(state_of(trained_encoder()), file)
    before = torch.get_rng_state()
    start_from(str(file), workspace)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_resumes_with_and_without_the_setting(workspace: Workspace) -> None:
    other = ENCODER.model_copy(update={"pretrained": "teacher:300"})
    encoder = trained_encoder()
    for step, theirs, ours in ((1, ENCODER, other), (2, other, ENCODER)):
        manifest = publish(workspace, "main", step, encoder, theirs)
        check_architecture(manifest, ours, TRANSFORM)
        assert_same(encoder, load_encoder(checkpoints(workspace), manifest, ours, TRANSFORM, "cpu"))


def test_another_architecture_is_refused_without_a_word_on_where_weights_came_from(workspace: Workspace) -> None:
    started = ENCODER.model_copy(update={"pretrained": "teacher:300"})
    manifest = publish(workspace, "main", 1, trained_encoder(), started)
    wider = ENCODER.model_copy(update={"embedding_dim": 32})
    message = refusal(lambda: check_architecture(manifest, wider, TRANSFORM))
    assert re.search("embedding_dim 16.*embedding_dim 32", message) and "pretrained" not in message


def test_a_checkpoint_from_before_the_setting_is_still_read(workspace: Workspace, tmp_path: Path) -> None:
    encoder = trained_encoder()
    manifest = publish(workspace, "main", 300, encoder)
    document = manifest.model_dump(mode="json")
    del document["encoder"]["pretrained"]
    dataset = checkpoints(workspace)
    (tmp_path / "workspace" / dataset.manifest_key(300)).write_text(json.dumps(document))
    started = ENCODER.model_copy(update={"pretrained": "teacher:300"})
    assert_same(encoder, load_encoder(dataset, dataset.read(300), started, TRANSFORM, "cpu"))


def test_the_digest_is_the_one_from_before_the_setting_whatever_it_says() -> None:
    architecture = b'{"embedding_dim": 16, "name": "small_cnn", "options": {"base_width": 8}}'
    for pretrained in (None, "teacher:300"):
        config = ENCODER.model_copy(update={"pretrained": pretrained})
        assert weights_digest(config, {}) == hashlib.sha256(architecture).hexdigest()
