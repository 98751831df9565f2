import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.benchmark.examples import Examples, glyph_examples
from pipeline.benchmark.kinds import run_benchmark
from pipeline.benchmark.plans import TrainPlan
from pipeline.benchmark.train import cases_of, facts
from pipeline.benchmark.train_lap import BareLoop, Lap, Product, num_valid_triplets
from pipeline.config import BatchConfig, EncoderConfig, OptimiserConfig, RunConfig, TrainingConfig
from pipeline.errors import InputError
from pipeline.training.dataset import LoadedBatch

TINY = RunConfig(
    encoder=EncoderConfig(embedding_dim=16, options={"base_width": 4}),
    training=TrainingConfig(batch=BatchConfig(num_labels=6, images_per_label=4), threads_per_worker=1),
)


def with_training(config: RunConfig, **changes: Any) -> RunConfig:  # noqa: ANN401
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


@pytest.fixture(scope="module")
def examples() -> Iterator[Examples]:
    with glyph_examples(TINY, 12) as found:
        yield found


def test_a_benchmark_of_training_leaves_a_document(tmp_path: Path) -> None:
    plan = TrainPlan(rounds=1, labels=12, steps=3, decode_workers=(1,))
    before = torch.get_num_threads()
    report = run_benchmark("train", TINY, plan, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "train.json").read_text()) == report
    assert torch.get_num_threads() == before and not torch.are_deterministic_algorithms_enabled()
    assert report["bare"]["images_per_s"] > 0 and report["decode"]["images_per_s"] > 0
    cases = {(case["source"], case["decoding"]): case for case in report["cases"]}
    ways = [("neighbourhoods", way) for way in ("before", "in line", "1 ahead")]
    assert list(cases) == [*ways, ("in-batch", "1 ahead"), ("listed", "1 ahead")]
    for case in cases.values():
        assert case["share_of_bare"]["median"] > 0 and case["images_per_s"] > 0
        for share in ("waiting_share", "planning_share", "start_share_of_a_round"):
            assert 0 <= case[share] <= 1
        assert case["loss_share"] > 0 and case["start_s"] > 0
    listed, mined = cases["listed", "1 ahead"], cases["neighbourhoods", "in line"]
    # An image that two listed triplets share stands once in the batch.
    assert 1 / 3 <= listed["triplets_per_image"] < 0.6 < mined["triplets_per_image"]
    assert listed["triplets_per_image"] * listed["images_per_triplet"] == pytest.approx(1.0)
    assert mined["valid_triplets_per_image"] == 3 * (24 - 4) and mined["images_per_step"] == 24


def test_the_decoders_are_those_of_the_config_where_none_are_asked_for() -> None:
    def numbers(asked: tuple[int, ...], config: RunConfig) -> list[int]:
        return [case.decode_workers for case in cases_of(asked, config)]

    assert numbers((), TINY) == [0, 0, 1, 1, 1]
    assert numbers((), with_training(TINY, decode_workers=2)) == [0, 0, 2, 2, 2]
    assert numbers((1, 4), with_training(TINY, decode_workers=2)) == [0, 0, 1, 4, 1, 1]


def test_the_product_trains_on_the_very_images_of_the_corpus(examples: Examples) -> None:
    assert len(examples.inputs_N) == examples.corpus.num_examples == len(examples.contents)
    np.testing.assert_array_equal(examples.decode(5), examples.inputs_N[5])
    mined = examples.mine()
    labels = examples.corpus.labels
    assert len(mined) and (labels[mined.anchor_T] == labels[mined.positive_T]).all()
    assert (mined.anchor_label_T != mined.negative_label_T).all()
    assert set(mined.neighbours.of(int(mined.anchor_label_T[0])).tolist()) <= set(labels.tolist())
    assert (np.diff(mined.neighbours.label_R) >= 0).all()


def test_steps_go_on_from_lap_to_lap_and_weights_change(examples: Examples) -> None:
    product = Product(examples, examples.mine(), num_steps=2, decode_workers=0, decoded=True)
    laps = [product.lap() for _ in range(2)]
    assert all(lap.num_images == 24 and 0 < lap.wait_s < lap.step_s and lap.plan_s > 0 for lap in laps)
    assert product._step == 6
    bare = BareLoop(with_training(TINY, images_per_forward=7, precision="bfloat16"), num_steps=2)
    weights = [parameter.detach().clone() for parameter in bare._encoder.parameters()]
    assert bare.lap().step_s > 0
    changed = [not torch.equal(one, other) for one, other in zip(weights, bare._encoder.parameters(), strict=True)]
    assert all(changed)


def test_training_that_fails_is_bad_input(examples: Examples) -> None:
    config = with_training(TINY, optimiser=OptimiserConfig(name="sgd", learning_rate=1e30))
    product = Product(replace(examples, config=config), examples.mine(), 20, 0, decoded=True)
    with pytest.raises(InputError, match="cannot train with this config: training diverged"):
        product.lap()


def test_valid_triplets_are_counted_by_label() -> None:
    batch = LoadedBatch(0, torch.empty(6), torch.tensor([1, 1, 1, 2, 2, 3]), "all", None)
    assert num_valid_triplets(batch) == 3 * 2 * 3 + 2 * 1 * 4
    listed = LoadedBatch(0, torch.empty(6), batch.labels_B, "all", torch.tensor([[0, 1, 3]]))
    assert num_valid_triplets(listed) == 1


def test_shares_are_of_a_step_and_a_start_is_spread_over_a_round() -> None:
    laps = [Lap(0.5, 10, wait_s=0.1, plan_s=0.01, loss_s=0.05, start_s=2.0, num_valid=80, num_triplets=30)] * 3
    found = facts(laps, steps_per_round=4)
    assert found["waiting_share"] == pytest.approx(0.2) and found["planning_share"] == pytest.approx(0.02)
    assert found["loss_share"] == pytest.approx(0.1) and found["start_share_of_a_round"] == pytest.approx(0.5)
    assert (found["valid_triplets_per_image"], found["triplets_per_image"]) == (8.0, 3.0)


@pytest.mark.parametrize(("changes", "words"), [({"steps": 0}, "--steps"), ({"decode_workers": (0,)}, "--decode-w")])
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        run_benchmark("train", TINY, TrainPlan(**changes), tmp_path)


def test_vectors_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="identity"):
        run_benchmark("train", RunConfig(encoder=EncoderConfig(name="identity")), TrainPlan(labels=12), tmp_path)
