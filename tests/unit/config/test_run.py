from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config import ClusterConfig, RunConfig

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "selection": st.sampled_from(["semi_hard", "hard", "positive_aware", "band", "all"]),
        "band": st.sampled_from([{"margin": 0.1}, {"mode": "hard"}, {"mode": "positive_aware", "ratio": 1.1}]),
        "clique_size": st.integers(1, 6),
        "random_share": st.sampled_from([0.0, 0.25, 1.0]),
    },
)
CURRICULA = st.dictionaries(st.integers(0, 50), CHANGES, max_size=5).map(
    lambda stages: [{"from_step": step, **stages[step]} for step in sorted(stages)]
)


def run(stages: list[dict[str, Any]]) -> RunConfig:
    return RunConfig.model_validate({"training": {"curriculum": stages}})


def settings_of(config: RunConfig) -> dict[str, Any]:
    """What a curriculum may change."""
    training = config.training
    return {
        "selection": training.selection,
        "band": config.mining.band.model_dump(),
        "clique_size": training.batch.clique_size,
        "random_share": training.batch.random_share,
    }


@settings(max_examples=80)
@given(CURRICULA, st.integers(0, 60))
@example([], 7)
def test_stages_are_applied_one_after_the_other_and_nothing_else_changes(
    stages: list[dict[str, Any]], step: int
) -> None:
    expected = settings_of(RunConfig())
    for stage in stages:
        if stage["from_step"] <= step:
            expected |= {name: value for name, value in stage.items() if name != "from_step"}
            expected["band"] = RunConfig.model_validate({"mining": {"band": expected["band"]}}).mining.band.model_dump()
    config = run(stages).at_step(step)
    assert settings_of(config) == expected
    plain = RunConfig().model_dump()
    plain["training"]["selection"], plain["mining"]["band"] = expected["selection"], expected["band"]
    plain["training"]["batch"] |= {name: expected[name] for name in ("clique_size", "random_share")}
    assert config == RunConfig.model_validate(plain)


@settings(max_examples=40)
@given(CURRICULA, st.integers(0, 60), st.integers(0, 60))
def test_what_was_applied_is_not_applied_again(stages: list[dict[str, Any]], step: int, later: int) -> None:
    config = run(stages).at_step(step)
    assert config.training.curriculum == ()
    assert config.at_step(later) == config and config.at_step(later).digest() == config.digest()


@pytest.mark.parametrize("steps", [[100, 0], [0, 0], [0, 200, 100]])
def test_stages_that_do_not_ascend_are_refused(steps: list[int]) -> None:
    with pytest.raises(ValidationError, match=r"training\.curriculum: the stages' from_step \[.*\] must ascend"):
        run([{"from_step": step} for step in steps])


def test_work_cannot_wait_for_more_actors_than_there_will_be() -> None:
    assert ClusterConfig(num_actors=3).num_needed_actors == 3
    assert ClusterConfig(num_actors=3, min_actors=1).num_needed_actors == 1
    with pytest.raises(ValidationError, match=r"cluster\.min_actors 4 is more than cluster\.num_actors 3"):
        ClusterConfig(num_actors=3, min_actors=4)
