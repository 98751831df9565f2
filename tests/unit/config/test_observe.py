import pytest
from pydantic import ValidationError

from pipeline.config import ObserveConfig, RunConfig


def test_nothing_is_observed_unless_asked_for() -> None:
    observe = RunConfig().observe
    assert (observe.log_format, observe.tensorboard, observe.mlflow) == ("text", None, None)


def test_credentials_in_the_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        ObserveConfig(mlflow="https://me:canary@mlflow.example")
    assert all(isinstance(error["input"], dict) for error in refused.value.errors()), "the command line shows no dict"
    assert ObserveConfig(mlflow="https://mlflow.example/a@b").mlflow is not None


def test_tensorboard_is_a_local_folder() -> None:
    with pytest.raises(ValidationError, match=r"observe\.tensorboard must be a local folder"):
        ObserveConfig(tensorboard="s3://bucket/runs")
