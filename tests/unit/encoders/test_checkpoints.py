import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.config import EncoderConfig, HarmonicConfig, OldEncoder, RunConfig, TransformConfig
from pipeline.encoders.checkpoints import (
    CheckpointContents,
    CheckpointManifest,
    checkpoints,
    config_of,
    load_encoder,
    load_trainer_state,
    save_checkpoint,
    weights_digest,
)
from pipeline.encoders.registry import initial_encoder
from pipeline.errors import CorruptDataError
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.workspace import Workspace
from tests.support.refusals import refusal
from tests.unit.encoders.samples import ENCODER, TRANSFORM, trained_encoder

Checkpoints = VersionedDataset[CheckpointManifest]

FLAT = EncoderConfig(name="tests.unit.encoders.own_networks:FlatLinear", embedding_dim=4)


@pytest.fixture
def published(tmp_path: Path) -> Checkpoints:
    return checkpoints(Workspace.open(str(tmp_path), "main"))


def save(
    dataset: Checkpoints,
    encoder: nn.Module,
    *,
    config: EncoderConfig = ENCODER,
    step: int = 300,
    trainer_state: dict[str, Any] | None = None,
) -> tuple[CheckpointManifest, bool]:
    contents = CheckpointContents(
        step, encoder, "f" * 64, None, trainer_state or {}, generation=2, metrics={"loss": 0.25}, parent=0
    )
    return save_checkpoint(dataset, RunConfig(encoder=config, transform=TRANSFORM, seed=7), contents)


def publish_parts(dataset: Checkpoints, like: CheckpointManifest, encoder: bytes, trainer: bytes) -> CheckpointManifest:
    """Publishes any bytes under a manifest that vouches for them: what a hostile or broken writer could do."""
    transaction = dataset.begin(like.step + 1)
    transaction.add_part("encoder", "encoder.safetensors", encoder, 1)
    transaction.add_part("trainer", "trainer.pt", trainer, 1)
    fields = like.model_dump() | transaction.manifest_fields() | {"step": transaction.number}
    return transaction.commit(CheckpointManifest.model_validate(fields))[0]


def test_a_loaded_encoder_gives_the_same_embeddings_in_evaluation_mode(published: Checkpoints) -> None:
    encoder = trained_encoder()
    save(published, encoder)
    loaded = load_encoder(published, published.read(300), ENCODER, TRANSFORM, "cpu")
    images = torch.randn(4, 1, 16, 16)
    assert not any(module.training for module in loaded.modules())
    assert torch.equal(loaded(images), encoder(images))


def test_the_manifest_says_what_was_saved(published: Checkpoints) -> None:
    encoder = trained_encoder()
    manifest, ours = save(published, encoder)
    assert ours
    assert manifest == published.read(300) == published.latest()
    assert (manifest.step, manifest.number, manifest.parent, manifest.generation) == (300, 300, 0, 2)
    assert (manifest.encoder, manifest.transform, manifest.seed) == (ENCODER, TRANSFORM, 7)
    assert manifest.weights_digest == weights_digest(ENCODER, encoder.state_dict())
    assert manifest.metrics == {"loss": 0.25}


def test_the_first_of_two_writers_of_a_step_stands(published: Checkpoints) -> None:
    first, _ = save(published, trained_encoder())
    committed, ours = save(published, initial_encoder(ENCODER, TRANSFORM, seed=4))
    assert not ours
    assert committed == first


def test_an_encoder_without_weights_can_be_checkpointed(published: Checkpoints) -> None:
    identity = EncoderConfig(name="identity", embedding_dim=3)
    save(published, initial_encoder(identity, TRANSFORM, seed=0), config=identity)
    loaded = load_encoder(published, published.read(300), identity, TRANSFORM, "cpu")
    assert torch.equal(loaded(torch.tensor([[0.0, 2.0, 0.0]])), torch.tensor([[0.0, 1.0, 0.0]]))


def test_a_resumed_optimiser_takes_the_step_it_would_have_taken(published: Checkpoints) -> None:
    images = torch.randn(8, 1, 16, 16)

    def step(encoder: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        encoder.train()(images)[:, 0].sum().backward()
        optimiser.step()

    encoder = trained_encoder()
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=0.01)
    step(encoder, optimiser)
    save(published, encoder, trainer_state={"optimiser": optimiser.state_dict(), "position": 3})

    manifest = published.read(300)
    resumed = load_encoder(published, manifest, ENCODER, TRANSFORM, "cpu")
    state = load_trainer_state(published, manifest)
    resumed_optimiser = torch.optim.AdamW(resumed.parameters(), lr=1.0)
    resumed_optimiser.load_state_dict(state["optimiser"])
    assert state["position"] == 3
    step(encoder, optimiser)
    step(resumed, resumed_optimiser)
    expected = encoder.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in resumed.state_dict().items())


def test_a_checkpoint_of_another_registered_architecture_is_loaded_by_its_own_config(published: Checkpoints) -> None:
    encoder = trained_encoder()
    manifest, _ = save(published, encoder)
    mine = RunConfig(encoder=EncoderConfig(name="nns2"), seed=4)
    config = config_of(manifest, mine)
    assert (config.encoder, config.transform) == (ENCODER, TRANSFORM)
    assert config == mine.model_copy(update={"encoder": ENCODER, "transform": TRANSFORM}), "and nothing else"
    images = torch.randn(2, 1, 16, 16)
    assert torch.equal(
        load_encoder(published, manifest, config.encoder, config.transform, "cpu")(images), encoder(images)
    )


def test_code_is_imported_because_the_config_names_it_never_because_a_checkpoint_does(published: Checkpoints) -> None:
    foreign = EncoderConfig(name="a_module_that_is_not_there:Network", embedding_dim=4)
    manifest, _ = save(published, nn.Linear(3, 3), config=foreign)
    harmonic = HarmonicConfig(checkpoint="old", encoder_name=foreign.name)
    for trusting in (RunConfig(encoder=foreign), RunConfig(harmonic=harmonic)):
        assert config_of(manifest, trusting).encoder == foreign
    for other in (RunConfig(), RunConfig(encoder=FLAT), RunConfig(harmonic=HarmonicConfig(checkpoint="old"))):
        message = refusal(lambda: config_of(manifest, other))  # noqa: B023 — called at once
        assert re.search(r"checkpoint 300 .*a_module_that_is_not_there:Network.*encoder\.name", message)


def test_a_checkpoint_says_what_it_is_comparable_with_and_older_ones_say_nothing(
    published: Checkpoints, tmp_path: Path
) -> None:
    old = OldEncoder(run="old", step=7, weights_digest="w" * 64)
    manifest, _ = save(published, trained_encoder())
    assert manifest.harmonic is None
    path = tmp_path / published.manifest_key(300)
    before = json.loads(path.read_text())
    del before["harmonic"]  # as they were written before there was such a field
    path.write_text(json.dumps(before))
    assert published.read(300) == manifest
    transaction = published.begin(301)
    for part in manifest.parts:
        transaction.add_part(part.role, part.key.rpartition("/")[2], published.read_part(part), part.num_rows)
    fields = manifest.model_dump() | transaction.manifest_fields() | {"step": 301, "harmonic": old}
    transaction.commit(CheckpointManifest.model_validate(fields))
    assert published.read(301).harmonic == old


def test_a_trainer_state_that_could_not_be_read_back_is_not_published(published: Checkpoints) -> None:
    with pytest.raises(pickle.UnpicklingError):
        save(published, trained_encoder(), trainer_state={"random": np.random.default_rng(0)})
    assert published.numbers() == []


@pytest.mark.parametrize(
    ("encoder", "transform", "message"),
    [
        (ENCODER.model_copy(update={"options": {"base_width": 16}}), TRANSFORM, r"base_width': 8.*base_width': 16"),
        (ENCODER.model_copy(update={"embedding_dim": 32}), TRANSFORM, r"embedding_dim 16.*embedding_dim 32"),
        (FLAT, TRANSFORM, r"small_cnn.*FlatLinear"),
        (ENCODER, TransformConfig(height=16, width=24), r"another transform .*width 16.*width 24"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_with_both_named(
    published: Checkpoints, encoder: EncoderConfig, transform: TransformConfig, message: str
) -> None:
    manifest, _ = save(published, trained_encoder())
    found = refusal(lambda: load_encoder(published, manifest, encoder, transform, "cpu"))
    assert re.search(rf"checkpoint 300 .*{message}.*--run", found)


@pytest.mark.parametrize("role", ["encoder", "trainer"])
def test_a_flipped_byte_is_found(published: Checkpoints, tmp_path: Path, role: str) -> None:
    manifest, _ = save(published, trained_encoder())
    path = tmp_path / manifest.parts_of(role)[0].key
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptDataError, match="SHA-256"):
        if role == "encoder":
            load_encoder(published, manifest, ENCODER, TRANSFORM, "cpu")
        else:
            load_trainer_state(published, manifest)


OTHER_WEIGHTS = {n: t.contiguous() for n, t in initial_encoder(ENCODER, TRANSFORM, 9).state_dict().items()}


@pytest.mark.parametrize(
    ("weights", "words"),
    [(safetensors.torch.save(OTHER_WEIGHTS), "do not have the digest"), (b"garbage", "not safetensors")],
    ids=["other than those of the digest", "no safetensors"],
)
def test_weights_other_than_those_of_the_digest_or_not_safetensors_are_refused(
    published: Checkpoints, weights: bytes, words: str
) -> None:
    swapped = publish_parts(published, save(published, trained_encoder())[0], weights, b"")
    with pytest.raises(CorruptDataError, match=rf"checkpoint 301 .* {words}"):
        load_encoder(published, swapped, ENCODER, TRANSFORM, "cpu")


def test_weights_that_do_not_fit_the_network_are_refused(published: Checkpoints) -> None:
    # The config is the same; the code behind the import path is what has changed.
    manifest, _ = save(published, nn.Linear(3, 3), config=FLAT)
    message = refusal(lambda: load_encoder(published, manifest, FLAT, TRANSFORM, "cpu"))
    assert re.search("checkpoint 300 .* do not fit the network .*FlatLinear.*code", message)


class LeavesAMark:
    """Unpickled without care, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._mark),)


def torch_bytes(value: object, path: Path) -> bytes:
    torch.save(value, path)
    return path.read_bytes()


def test_a_malicious_pickle_is_refused_and_leaves_no_mark(published: Checkpoints, tmp_path: Path) -> None:
    manifest, _ = save(published, trained_encoder())
    mark = tmp_path / "mark"
    payload = {"optimiser": LeavesAMark(mark)}
    for trainer in (pickle.dumps(payload, protocol=2), torch_bytes(payload, tmp_path / "payload.pt")):
        manifest = publish_parts(published, manifest, b"", trainer)
        with pytest.raises(CorruptDataError, match="cannot be read safely"):
            load_trainer_state(published, manifest)
    assert not mark.exists()
    pickle.loads(pickle.dumps(payload))  # the trap is a real one
    assert mark.exists()


def test_a_damaged_trainer_state_is_an_error_for_people_wherever_the_damage_lies(
    published: Checkpoints, tmp_path: Path
) -> None:
    manifest, _ = save(published, trained_encoder())
    whole = torch_bytes({"weight": torch.ones(3), "nested": {"values": [1, 2.5, "x"]}}, tmp_path / "whole.pt")
    random = np.random.default_rng(0)
    num_refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(len(damaged), size=3):
            damaged[place] = random.integers(256)
        manifest = publish_parts(published, manifest, b"", bytes(damaged))
        try:
            load_trainer_state(published, manifest)
        except CorruptDataError:
            num_refused += 1
    assert num_refused > 75


def test_a_trainer_state_that_is_no_dict_is_refused(published: Checkpoints, tmp_path: Path) -> None:
    manifest, _ = save(published, trained_encoder())
    odd = publish_parts(published, manifest, b"", torch_bytes([1, 2], tmp_path / "list.pt"))
    with pytest.raises(CorruptDataError, match="is a list, not a dict"):
        load_trainer_state(published, odd)


def test_a_manifest_without_both_parts_is_no_checkpoint(published: Checkpoints, tmp_path: Path) -> None:
    manifest, _ = save(published, trained_encoder())
    incomplete = manifest.model_copy(update={"parts": manifest.parts_of("encoder")})
    (tmp_path / published.manifest_key(300)).write_text(incomplete.model_dump_json())
    with pytest.raises(CorruptDataError, match="one part with the role 'trainer'"):
        published.read(300)


STATE = initial_encoder(ENCODER, TRANSFORM, seed=3).state_dict()
NUM_VALUES = {name: tensor.numel() for name, tensor in STATE.items()}


@given(st.sampled_from(sorted(NUM_VALUES)), st.data())
def test_the_digest_changes_with_any_weight(name: str, data: st.DataObject) -> None:
    changed = {key: tensor.clone() for key, tensor in STATE.items()}
    flat = changed[name].view(-1) if changed[name].is_contiguous() else changed[name].contiguous().view(-1)
    place = data.draw(st.integers(0, NUM_VALUES[name] - 1))
    flat[place] = torch.nextafter(flat[place], torch.tensor(9.0)) if flat.is_floating_point() else flat[place] + 1
    changed[name] = flat.view(changed[name].shape)
    assert weights_digest(ENCODER, changed) != weights_digest(ENCODER, STATE)


def test_the_digest_knows_name_shape_dtype_and_architecture() -> None:
    def digest(state: dict[str, Tensor], config: EncoderConfig = ENCODER) -> str:
        return weights_digest(config, state)

    zeros = torch.zeros(2, 3)
    digests = [
        digest({"a": zeros}),
        digest({"b": zeros}),
        digest({"a": zeros.view(3, 2)}),
        digest({"a": torch.zeros(2, 3, dtype=torch.int32)}),
        digest({"a": zeros, "b": torch.zeros(0)}),
        digest({"a": zeros}, ENCODER.model_copy(update={"options": {}})),
        digest({"a": zeros}, ENCODER.model_copy(update={"name": "nns2"})),
        digest({"a": zeros}, ENCODER.model_copy(update={"embedding_dim": 8})),
    ]
    assert len(set(digests)) == len(digests)


def test_the_digest_does_not_depend_on_order_or_memory_layout() -> None:
    weight = torch.arange(24.0).view(2, 3, 2, 2)
    first = {"a": weight, "b": torch.ones(1)}
    second = {"b": torch.ones(1), "a": weight.to(memory_format=torch.channels_last)}
    assert not second["a"].is_contiguous()
    assert weights_digest(ENCODER, first) == weights_digest(ENCODER, second)
