import pytest

from pipeline.config import BandConfig, BatchConfig, MiningConfig, RunConfig, TrainingConfig
from pipeline.errors import InputError
from pipeline.studies.compare.arms import ARMS, PARTIAL_CANDIDATES, choose_arms

BASE = RunConfig(
    training=TrainingConfig(batch=BatchConfig(num_labels=9, clique_size=5, random_share=0.7)),
    mining=MiningConfig(band=BandConfig(mode="positive_aware"), candidate_fraction=0.5, warm_start=True),
)


def test_arms_differ_in_the_choice_of_triplets_alone() -> None:
    for arm in ARMS.values():
        config = arm.config(BASE, 20_000)
        choice = {"source", "selection", "batch", "curriculum"}
        assert config.training.model_dump(exclude=choice) == BASE.training.model_dump(exclude=choice)
        assert config.training.batch.num_images == BASE.training.batch.num_images
        assert config.model_dump(exclude={"training", "mining"}) == BASE.model_dump(exclude={"training", "mining"})
        RunConfig.model_validate(config.model_dump())


def test_global_arms_see_every_candidate_and_partial_mining_a_thousand() -> None:
    for name, arm in ARMS.items():
        mining = arm.config(BASE, 20_000).mining
        if name == "partial":
            assert mining.candidate_fraction == PARTIAL_CANDIDATES / 20_000 and not mining.starts_warm
        elif name != "as_configured":
            assert mining.candidate_fraction == 1.0
    assert ARMS["partial"].config(BASE, 500).mining.candidate_fraction == 1.0


def test_as_configured_is_the_config_itself() -> None:
    assert ARMS["as_configured"].config(BASE, 20_000) == BASE


def test_an_unknown_arm_is_named_with_those_there_are() -> None:
    assert [arm.name for arm in choose_arms(["random", "in_batch", "random"])] == ["random", "in_batch"]
    with pytest.raises(InputError, match=r"no arm 'in-batch': choose from random, .*in_batch"):
        choose_arms(["in-batch"])
