import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config import BandConfig, OptimiserConfig, TrainingConfig
from pipeline.config.training import Selection
from pipeline.training.dataset import LoadedBatch
from pipeline.training.loss import Objective
from pipeline.training.trainer import StepReport, Trainer, TrainingFailedError
from tests.support.refusals import refusal
from tests.unit.training.samples import (
    CONFIG,
    OLD,
    Collapsed,
    Convolutional,
    Recalling,
    Small,
    assert_same_weights,
    configured,
    dataset,
    loaded,
    run_workers,
    train,
)
from tests.unit.training.workers import NUM_STEPS, cases, train_cases, train_harmonic

PLAIN = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
IMAGES = np.random.default_rng(1).normal(size=(48, 3, 8, 8)).astype(np.float32)


def resumable(optimiser: OptimiserConfig) -> tuple[TrainingConfig, Small]:
    return configured(optimiser=optimiser.model_dump()), Small(dropout=0.3, batch_norm=True)


def descend(network: nn.Module, loss: Tensor, rate: float) -> None:
    """One step of plain gradient descent."""
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter.sub_(rate * parameter.grad)


def rounds(trainer: Trainer, first: int, last: int) -> list[StepReport]:
    """Rounds of two steps, of which none is better than the first."""
    reports = []
    for number in range(first, last):
        reports += train(trainer, range(2 * number, 2 * number + 2))
        trainer.end_round(0.5)
    return reports


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
def test_a_resumed_trainer_takes_the_steps_it_would_have_taken(name: str, schedule: str, tmp_path: Path) -> None:
    optimiser = OptimiserConfig.model_validate(
        {"name": name, "learning_rate": 0.02, "warmup_steps": 3, "schedule": schedule, "plateau_rounds": 2}
    )
    config, encoder = resumable(optimiser)
    whole = Trainer(copy.deepcopy(encoder), config, seed=5)
    reports = rounds(whole, 0, 6)
    first = Trainer(encoder, config, seed=5)
    assert rounds(first, 0, 2) == reports[:4]
    torch.save({"encoder": first.encoder.state_dict(), "trainer": first.state()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = Trainer(resumable(optimiser)[1], config, seed=5)
    resumed.encoder.load_state_dict(saved["encoder"])
    resumed.load_state(saved["trainer"])
    torch.manual_seed(99)  # whatever else drew random numbers meanwhile
    assert rounds(resumed, 2, 6) == reports[4:]
    assert_same_weights(resumed.encoder, whole.encoder)
    if schedule == "plateau":
        assert [report.learning_rate for report in reports[5::2]] == pytest.approx([0.02, 0.006, 0.006, 0.0018])


def test_the_checkpoint_of_step_0_has_nothing_to_take_up() -> None:
    fresh, begun = Trainer(Small(), CONFIG, seed=0), Trainer(Small(), CONFIG, seed=0)
    begun.load_state({})
    assert train(begun, range(3)) == train(fresh, range(3))


def test_the_optimiser_of_another_kind_is_refused() -> None:
    state = Trainer(Small(), CONFIG, seed=0).state()
    other = Trainer(Small(), configured(optimiser={"name": "adamw"}), seed=0)
    with pytest.raises(ValueError, match="trained with sgd, the config asks for adamw"):
        other.load_state(state)


def test_a_resumed_run_decays_and_gathers_momentum_as_its_config_says_now() -> None:
    trainer = Trainer(Small(), CONFIG, seed=0)
    train(trainer, range(1))
    changed = {"name": "sgd", "weight_decay": 0.03, "momentum": 0.5, "learning_rate": 0.01, "schedule": "constant"}
    resumed = Trainer(Small(), configured(optimiser=changed), seed=0)
    resumed.load_state(trainer.state())
    assert train(resumed, range(1, 2))[0].learning_rate == 0.01
    (group,) = resumed.optimiser.param_groups
    assert (group["weight_decay"], group["momentum"]) == (0.03, 0.5)


def test_a_step_is_plain_gradient_descent_on_the_objective_and_says_what_it_did() -> None:
    config = configured(optimiser=PLAIN)
    trainer, reference, batch = Trainer(Small(), config, seed=0), Small(), loaded(step=5)
    report = trainer.step(batch)
    embeddings = reference(batch.inputs)
    result = Objective(config.loss, BandConfig())(embeddings, batch.labels_B, "all")
    rate = 0.1 * 0.5 * (1.0 + np.cos(np.pi * 5 / config.num_steps))
    descend(reference, result.loss, rate)
    assert_same_weights(trainer.encoder, reference, rtol=1e-5, atol=1e-7)
    spread = (embeddings - embeddings.mean(dim=0)).square().sum(dim=1).mean()
    assert report.loss == pytest.approx(float(result.loss.detach()))
    assert (report.num_triplets, report.num_active) == (result.num_triplets, result.num_active)
    assert report.num_images == 15 and report.learning_rate == pytest.approx(rate)
    assert report.spread == pytest.approx(float(spread.detach()))


def test_listed_triplets_count_alone() -> None:
    batch = loaded()
    (row,) = torch.nonzero(batch.labels_B != batch.labels_B[0])[:1]
    listed = LoadedBatch(0, batch.inputs, batch.labels_B, "all", torch.tensor([[0, 1, int(row)]]))
    assert Trainer(Small(), CONFIG, seed=0).step(listed).num_triplets == 1


def test_positive_aware_selects_by_the_band_of_the_round() -> None:
    batch = loaded()
    guarded = LoadedBatch(0, batch.inputs, batch.labels_B, "positive_aware", None)
    bands = (BandConfig(), BandConfig(offset=0.5), BandConfig(offset=4.0))
    counts = []
    for band in bands:
        told_at_once, told_later = (Trainer(Small(), CONFIG, seed=0, band=given) for given in (band, bands[0]))
        told_later.begin_round(band)
        counts.append(told_later.step(guarded).num_triplets)
        assert told_at_once.step(guarded).num_triplets == counts[-1]
    assert counts[0] > counts[1] > counts[2] == 0


def test_parameters_that_need_no_gradient_stay_as_they_are() -> None:
    encoder, before = Small(), Small()
    encoder.layers[0].requires_grad_(False)
    train(Trainer(encoder, CONFIG, seed=0), range(3))
    assert_same_weights(encoder.layers[0], before.layers[0])
    assert not torch.equal(encoder.state_dict()["layers.4.weight"], before.state_dict()["layers.4.weight"])


def assert_same_steps(trainer: Trainer, reference: Trainer) -> None:
    """Four of them, but for rounding."""
    for expected, report in zip(train(reference, range(4)), train(trainer, range(4)), strict=True):
        assert report.loss == pytest.approx(expected.loss, rel=1e-5)
        assert (report.num_triplets, report.num_images) == (expected.num_triplets, expected.num_images)
    assert_same_weights(trainer.encoder, reference.encoder, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("selection", ["all", "semi_hard"])
@pytest.mark.parametrize("images_per_forward", [1, 4, 5, 14, 15, 99])
def test_forwarding_in_pieces_takes_the_same_steps(images_per_forward: int, selection: Selection) -> None:
    at_once, in_pieces = (
        Trainer(Small(), configured(selection=selection, images_per_forward=size), seed=0)
        for size in (None, images_per_forward)
    )
    assert_same_steps(in_pieces, at_once)


def test_the_second_pass_over_a_piece_draws_what_the_first_one_drew() -> None:
    encoder = Recalling(dropout=0.5)
    train(Trainer(encoder, configured(images_per_forward=4), seed=0), range(1))
    ahead, again = encoder.given[:4], encoder.given[4:]
    assert [len(piece) for piece in ahead] == [4, 4, 4, 3]
    assert all(torch.equal(a, b) for a, b in zip(ahead, again, strict=True))
    assert not any(piece.requires_grad for piece in ahead) and all(piece.requires_grad for piece in again)


def test_with_dropout_the_gradient_is_that_of_what_was_drawn() -> None:
    encoder, batch = Recalling(dropout=0.5), loaded()
    trainer = Trainer(encoder, configured(images_per_forward=4), seed=0)
    before = copy.deepcopy(encoder.state_dict())
    trainer.step(batch)
    found = [parameter.grad for parameter in encoder.parameters()]
    encoder.load_state_dict(before)  # the graph of the second passes, walked once for the loss of the whole batch
    embeddings = torch.cat(
        [trainer._forward(piece, batch.step, place) for place, piece in enumerate(torch.split(batch.inputs, 4))]
    )
    assert torch.equal(embeddings, torch.cat(encoder.given[:4]))
    loss = Objective(CONFIG.loss, BandConfig())(embeddings, batch.labels_B, "all").loss
    for ours, theirs in zip(found, torch.autograd.grad(loss, list(encoder.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_batch_statistics_advance_once_a_piece_and_no_piece_is_a_lone_remainder() -> None:
    encoder, reference, batch = Small(batch_norm=True), Small(batch_norm=True), loaded()
    Trainer(encoder, configured(images_per_forward=7), seed=0).step(batch)
    with torch.no_grad():
        for piece in torch.split(batch.inputs, 5):  # not 7, 7 and 1
            reference(piece)
    ours, theirs = dict(encoder.named_buffers()), dict(reference.named_buffers())
    assert ours and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_bfloat16_stays_close_and_keeps_weights_in_float32() -> None:
    full, half = (Trainer(Small(), configured(precision=name), seed=0) for name in ("float32", "bfloat16"))
    expected = [report.loss for report in train(full, range(10))]
    found = [report.loss for report in train(half, range(10))]
    assert found == pytest.approx(expected, rel=0.05) and found != expected
    tensors = [*half.encoder.state_dict().values(), *(p.grad for p in half.encoder.parameters())]
    tensors += [value for state in half.optimiser.state.values() for value in state.values()]
    assert {tensor.dtype for tensor in tensors if isinstance(tensor, Tensor)} == {torch.float32}
    assert_same_weights(half.encoder, full.encoder, atol=0.02)


def test_bfloat16_in_pieces_is_bfloat16_at_once() -> None:
    at_once, in_pieces = (
        Trainer(Small(), configured(precision="bfloat16", images_per_forward=size), seed=0) for size in (None, 4)
    )
    assert [report.loss for report in train(in_pieces, range(4))] == pytest.approx(
        [report.loss for report in train(at_once, range(4))], rel=1e-2
    )


def test_the_layout_of_images_changes_no_result() -> None:
    results = {}
    for channels_last in (False, True):
        encoder = Convolutional()
        if channels_last:
            encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        trainer = Trainer(encoder, configured(channels_last=channels_last), seed=0)
        losses = [report.loss for report in train(trainer, range(3), dataset(inputs=IMAGES))]
        assert encoder.was_channels_last == channels_last
        results[channels_last] = encoder, losses
    assert results[True][1] == pytest.approx(results[False][1], rel=1e-5)
    assert_same_weights(results[True][0], results[False][0], rtol=1e-4, atol=1e-6)


def test_vectors_have_no_channels_to_lay_out() -> None:
    plain, told = (Trainer(Small(), configured(channels_last=asked), seed=0) for asked in (False, True))
    assert train(told, range(2)) == train(plain, range(2))


@pytest.mark.parametrize("images_per_forward", [None, 4])
def test_a_compiled_encoder_takes_the_same_steps(images_per_forward: int | None) -> None:
    config = configured(images_per_forward=images_per_forward)
    plain, compiled = Trainer(Small(), config, seed=0), Trainer(Small(), config, seed=0)
    # All of torch.compile but the generation of C++, which takes a minute.
    compiled.encoder.compile(backend="aot_eager")
    assert_same_steps(compiled, plain)


def failure(call: Callable[[], object], *words: str) -> str:
    """The one sentence with these words that training ends with."""
    text = refusal(call, TrainingFailedError)
    assert ". " not in text and all(word in text for word in words), text
    return text


@pytest.mark.parametrize("images_per_forward", [None, 4])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    value: float, images_per_forward: int | None
) -> None:
    trainer = Trainer(Small(), configured(images_per_forward=images_per_forward), seed=0)
    train(trainer, range(3))
    before = copy.deepcopy(trainer.encoder)
    batch = loaded(step=3)
    batch.inputs[0, 0] = value
    failure(lambda: trainer.step(batch), "step 3 is not finite", "training.optimiser.learning_rate")
    assert_same_weights(trainer.encoder, before)


def test_an_embedding_that_is_not_finite_is_seen_though_no_triplet_of_it_counts() -> None:
    batch = loaded()
    batch.inputs[0, 0] = torch.nan
    apart = LoadedBatch(0, batch.inputs, batch.labels_B, "all", torch.tensor([[3, 4, 8]]))
    with pytest.raises(TrainingFailedError, match="step 0 is not finite"):
        Trainer(Small(), CONFIG, seed=0).step(apart)


@pytest.mark.parametrize("selection", ["hard", "semi_hard"])
def test_training_that_has_collapsed_is_refused_after_20_steps(selection: Selection) -> None:
    config = configured(selection=selection)
    trainer, data = Trainer(Collapsed(range(100)), config, seed=0), dataset(config=config)
    reports = train(trainer, range(19), data)
    assert all(report.spread < 1e-12 for report in reports)
    before = copy.deepcopy(trainer.encoder)
    changes = ("training.optimiser.learning_rate 0.05", "selectively_contrastive", "training.curriculum")
    found = ("collapsed", "step 19", "training.min_spread 0.001", *changes)
    sentence = failure(lambda: train(trainer, range(19, 20), data), *found)
    assert_same_weights(trainer.encoder, before)
    assert ("select semi_hard instead of hard" in sentence) == (selection == "hard")
    assert "instead of semi_hard" not in sentence


def test_an_encoder_that_leaves_its_one_point_in_time_is_trained() -> None:
    trainer = Trainer(Collapsed(range(19), range(20, 39)), CONFIG, seed=0)
    reports = train(trainer, range(45))
    assert [step for step, report in enumerate(reports) if report.spread > 0.1] == [19, *range(39, 45)]


def test_a_spread_of_nothing_asked_for_refuses_no_collapse() -> None:
    assert len(train(Trainer(Collapsed(range(100)), configured(min_spread=0.0), seed=0), range(25))) == 25


@pytest.mark.parametrize("world_size", [2, 4])
def test_several_workers_take_the_steps_of_the_undivided_batch(world_size: int, tmp_path: Path) -> None:
    run_workers(train_cases, world_size, tmp_path)
    alone = Trainer(Small(), CONFIG, seed=5)
    losses = torch.tensor([report.loss for report in train(alone, range(NUM_STEPS))])
    for name in cases(world_size):
        states = [torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in range(world_size)]
        parameters = dict(cases(world_size)[name][0].named_parameters())
        for state in states:  # weights are one; batch statistics are each worker's own
            assert all(torch.equal(state[key], states[0][key]) for key in (*parameters, "losses"))
        if "batch_norm" not in name:
            torch.testing.assert_close(states[0].pop("losses"), losses, rtol=1e-5, atol=1e-6)
            for key, weight in alone.encoder.state_dict().items():
                torch.testing.assert_close(states[0][key], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("images_per_forward", [None, 4])
def test_a_harmonic_step_descends_on_the_loss_with_the_old_vectors(images_per_forward: int | None) -> None:
    config = configured(optimiser=PLAIN | {"schedule": "constant"}, images_per_forward=images_per_forward)
    trainer, reference, batch = Trainer(Small(), config, seed=0), Small(), dataset(old_ND=OLD)[2]
    report = trainer.step(batch)
    result = Objective(config.loss, BandConfig())(reference(batch.inputs), batch.labels_B, "all", old_BD=batch.old_BD)
    descend(reference, result.loss, 0.1)
    assert_same_weights(trainer.encoder, reference, rtol=1e-5, atol=1e-7)
    assert (report.num_images, report.num_triplets) == (15, result.num_triplets)
    assert result.num_triplets > 6 * Trainer(Small(), config, seed=0).step(loaded(step=2)).num_triplets


def test_several_workers_take_the_harmonic_steps_of_the_undivided_batch(tmp_path: Path) -> None:
    run_workers(train_harmonic, 2, tmp_path)
    alone = Trainer(Small(), CONFIG, seed=5)
    train(alone, range(NUM_STEPS), dataset(old_ND=OLD))
    for rank in range(2):
        for key, weight in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            torch.testing.assert_close(weight, alone.encoder.state_dict()[key], rtol=1e-5, atol=1e-6)
