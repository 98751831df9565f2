import hashlib
import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.config import EncoderConfig, RunConfig, TransformConfig
from pipeline.encoders.checkpoints import (
    CheckpointManifest,
    check_architecture,
    checkpoints,
    load_encoder,
    weights_digest,
)
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.encoders.registry import Encoder, initial_encoder
from pipeline.errors import CorruptDataError, InputError
from pipeline.storage.workspace import Workspace
from tests.unit.encoders.samples import checkpoint

ENCODER = EncoderConfig(name="small_cnn", embedding_dim=16, options={"base_width": 8})
TRANSFORM = TransformConfig(height=16, width=16)
CORPUS = "f" * 64
SEED = 5

State = dict[str, Tensor]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(str(tmp_path / "workspace"), "main")


def trained_encoder(config: EncoderConfig = ENCODER) -> Encoder:
    """An encoder whose weights and batch statistics are not those of any seed used here."""
    encoder = initial_encoder(config, TRANSFORM, seed=3)
    encoder.train()(torch.randn(8, 1, 16, 16))
    return encoder.eval()


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


def refusal(pretrained: str, workspace: Workspace, config: EncoderConfig = ENCODER) -> str:
    with pytest.raises(InputError) as caught:
        start_from(pretrained, workspace, config)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("encoder.pretrained")
    return message


def test_without_the_setting_it_is_the_initial_encoder(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    initial = state_of(initial_encoder(ENCODER, TRANSFORM, SEED))
    assert same(initial, state_of(start_from(None, workspace))) == set(initial)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("prefix", ["network.", ""])
def test_a_file_gives_every_weight_and_statistic_with_or_without_the_prefix(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    state = state_of(trained_encoder())
    renamed = {prefix + name.removeprefix("network."): tensor for name, tensor in state.items()}
    path = save_file(renamed, tmp_path / "weights.safetensors")
    assert same(state, state_of(start_from(path, workspace))) == set(state)
    assert capsys.readouterr().err == f"encoder: {len(state)} of {len(state)} tensors start from {path}\n"


def test_a_home_folder_is_written_as_a_tilde(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    state = state_of(trained_encoder())
    save_file(state, tmp_path / "weights.safetensors")
    assert same(state, state_of(start_from("~/weights.safetensors", workspace))) == set(state)


def test_a_run_and_step_give_the_weights_of_that_checkpoint(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = trained_encoder(), initial_encoder(ENCODER, TRANSFORM, seed=9)
    published = publish(workspace, "teacher", 300, older)
    publish(workspace, "teacher", 600, newer)
    encoder = start_from("teacher:300", workspace)
    assert same(state_of(older), state_of(encoder)) == set(state_of(older))
    # Equal weights have equal digests, so the embeddings that the other run computed are found again.
    assert weights_digest(ENCODER, encoder.state_dict()) == published.weights_digest
    assert "tensors start from run 'teacher' step 300\n" in capsys.readouterr().err


def test_a_run_alone_means_its_newest_checkpoint(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    newer = trained_encoder()
    publish(workspace, "teacher", 0, initial_encoder(ENCODER, TRANSFORM, seed=9))
    publish(workspace, "teacher", 300, newer)
    assert same(state_of(newer), state_of(start_from("teacher", workspace))) == set(state_of(newer))
    assert "run 'teacher' step 300\n" in capsys.readouterr().err


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


def test_what_is_not_there_and_what_has_no_place_is_said(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = state_of(trained_encoder())
    del state["network.head.bias"]
    state["classifier.weight"] = torch.ones(3)
    start_from(save_file(state, tmp_path / "weights.safetensors"), workspace)
    assert capsys.readouterr().err.endswith(
        "; the others keep their initial values: head.bias (not there); unused: 1 of those there\n"
    )


def test_of_many_tensors_that_keep_their_values_the_first_are_named(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {name: tensor.detach() for name, tensor in trained_encoder().named_parameters()}
    start_from(save_file(parameters, tmp_path / "weights.safetensors"), workspace)
    assert "features.0.1.running_mean (not there), " in (said := capsys.readouterr().err)
    assert said.count("(not there)") == 8
    assert said.endswith(" and 4 more\n")


def test_weights_for_fewer_than_half_of_the_trainable_tensors_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    state = state_of(trained_encoder(ENCODER.model_copy(update={"options": {"base_width": 16}})))
    message = refusal(save_file(state, tmp_path / "wide.safetensors"), workspace)
    assert "wide.safetensors has only 1 of the 14 trainable tensors of encoder 'small_cnn'" in message
    assert "(there: features.0.0.weight 16x1x3x3, features.0.1.bias 16, features.0.1.running_mean 16; " in message
    assert "wanted: features.0.0.weight 8x1x3x3, features.0.1.weight 8, features.0.1.bias 8): " in message


@pytest.mark.parametrize(("num_tensors", "enough"), [(6, False), (7, True)])
def test_half_of_the_trainable_tensors_is_enough(
    workspace: Workspace, tmp_path: Path, num_tensors: int, enough: bool
) -> None:
    parameters = [(name, tensor.detach()) for name, tensor in trained_encoder().named_parameters()]
    assert len(parameters) == 14
    path = save_file(dict(parameters[:num_tensors]), tmp_path / "weights.safetensors")
    if enough:
        start_from(path, workspace)
    else:
        assert "only 6 of the 14" in refusal(path, workspace)


def test_an_encoder_without_weights_has_nothing_to_start_from(workspace: Workspace, tmp_path: Path) -> None:
    path = save_file({"a": torch.ones(2)}, tmp_path / "weights.safetensors")
    message = refusal(path, workspace, EncoderConfig(name="identity", embedding_dim=3))
    assert "(there: a 2; wanted: nothing else)" in message


def test_floats_of_another_width_are_converted(workspace: Workspace, tmp_path: Path) -> None:
    state = state_of(trained_encoder())
    halves = {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    loaded = state_of(start_from(save_file(halves, tmp_path / "weights.safetensors"), workspace))
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32, torch.int64}
    expected = {name: tensor.to(state[name].dtype) for name, tensor in halves.items()}
    assert same(expected, loaded) == set(state)


def test_integers_are_no_weights(workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_of(trained_encoder())
    state["network.head.weight"] = (100 * state["network.head.weight"]).to(torch.int8)
    start_from(save_file(state, tmp_path / "weights.safetensors"), workspace)
    assert "initial values: head.weight (int8 there, float32 here)\n" in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_refused(workspace: Workspace, tmp_path: Path, value: float) -> None:
    state = state_of(trained_encoder())
    state["network.head.bias"] = torch.full((16,), value, dtype=torch.float64)
    message = refusal(save_file(state, tmp_path / "weights.safetensors"), workspace)
    assert "values in head.bias that are not finite" in message


class Nested(nn.Module):
    """Has a part that is called as an encoder's network is."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        super().__init__()
        self.network = nn.Linear(in_channels * height * width, embedding_dim)
        self.weight = nn.Parameter(torch.zeros(embedding_dim))

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.weight + self.network(images.flatten(1))
        return embeddings


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self, in_channels: int, embedding_dim: int, height: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(in_channels * height * width, embedding_dim)
        self.second = self.first

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.second(images.flatten(1))
        return embeddings


def test_a_part_that_is_called_network_is_not_taken_for_the_prefix(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EncoderConfig(name=f"{__name__}:Nested", embedding_dim=4)
    state = state_of(initial_encoder(config, TRANSFORM, seed=3))
    for name, prefix in (("plain", ""), ("whole", "network.")):
        renamed = {prefix + key.removeprefix("network."): tensor for key, tensor in state.items()}
        path = save_file(renamed, tmp_path / f"{name}.safetensors")
        assert same(state, state_of(start_from(path, workspace, config))) == set(state)
        assert "3 of 3 tensors" in capsys.readouterr().err


def test_one_name_of_a_tied_weight_is_enough(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EncoderConfig(name=f"{__name__}:Tied", embedding_dim=4)
    encoder = initial_encoder(config, TRANSFORM, seed=3)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_model(encoder.network, str(path))
    assert len(safetensors.torch.load_file(path)) == 2
    assert same(state_of(encoder), state_of(start_from(str(path), workspace, config))) == set(state_of(encoder))
    assert capsys.readouterr().err.endswith(f"4 of 4 tensors start from {path}\n")


@pytest.mark.parametrize("name", ["resnet.pt", "resnet.pth", "pytorch_model.bin", "last.CKPT", "weights.pkl"])
def test_a_pickle_is_refused_unread_with_the_way_to_convert_it(workspace: Workspace, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"a": 1}))
    message = refusal(str(path), workspace)
    assert name in message
    assert "is a pickle" in message
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
    message = refusal(pretrained, workspace)
    assert message.startswith(f"encoder.pretrained {pretrained!r}")
    assert words.format(uri=workspace.store.uri) in message


def test_a_step_that_was_not_published_is_refused_with_those_that_were(workspace: Workspace) -> None:
    publish(workspace, "teacher", 300, trained_encoder())
    message = refusal("teacher:600", workspace)
    assert message == "encoder.pretrained 'teacher:600': run 'teacher' has no checkpoint 600; choose one of [300]"


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": 1})])
def test_a_file_that_is_not_safetensors_is_refused(workspace: Workspace, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    assert "cannot be read as safetensors" in refusal(str(path), workspace)


def test_a_folder_is_no_file(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").mkdir()
    assert "there is no such file" in refusal(str(tmp_path / "weights.safetensors"), workspace)


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


def test_torchs_random_state_stays_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    path = save_file(state_of(trained_encoder()), tmp_path / "weights.safetensors")
    before = torch.get_rng_state()
    start_from(path, workspace)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_resumes_with_and_without_the_setting(workspace: Workspace) -> None:
    other = ENCODER.model_copy(update={"pretrained": "teacher:300"})
    encoder = trained_encoder()
    for step, theirs, ours in ((1, ENCODER, other), (2, other, ENCODER)):
        manifest = publish(workspace, "main", step, encoder, theirs)
        check_architecture(manifest, ours, TRANSFORM)
        loaded = load_encoder(checkpoints(workspace), manifest, ours, TRANSFORM, "cpu")
        assert same(state_of(encoder), state_of(loaded)) == set(state_of(encoder))


def test_another_architecture_is_refused_without_a_word_on_where_weights_came_from(workspace: Workspace) -> None:
    started = ENCODER.model_copy(update={"pretrained": "teacher:300"})
    manifest = publish(workspace, "main", 1, trained_encoder(), started)
    with pytest.raises(InputError, match=r"embedding_dim 16.*embedding_dim 32") as caught:
        check_architecture(manifest, ENCODER.model_copy(update={"embedding_dim": 32}), TRANSFORM)
    assert "pretrained" not in str(caught.value)


def test_a_checkpoint_from_before_the_setting_is_still_read(workspace: Workspace, tmp_path: Path) -> None:
    encoder = trained_encoder()
    manifest = publish(workspace, "main", 300, encoder)
    document = manifest.model_dump(mode="json")
    del document["encoder"]["pretrained"]
    dataset = checkpoints(workspace)
    (tmp_path / "workspace" / dataset.manifest_key(300)).write_text(json.dumps(document))
    started = ENCODER.model_copy(update={"pretrained": "teacher:300"})
    loaded = load_encoder(dataset, dataset.read(300), started, TRANSFORM, "cpu")
    assert same(state_of(encoder), state_of(loaded)) == set(state_of(encoder))


def test_the_digest_is_the_one_from_before_the_setting_whatever_it_says() -> None:
    architecture = b'{"embedding_dim": 16, "name": "small_cnn", "options": {"base_width": 8}}'
    for pretrained in (None, "teacher:300"):
        config = ENCODER.model_copy(update={"pretrained": pretrained})
        assert weights_digest(config, {}) == hashlib.sha256(architecture).hexdigest()
