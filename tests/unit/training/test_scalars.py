import importlib.util
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.config import ObserveConfig, RunConfig
from pipeline.errors import InputError, UnavailableError
from pipeline.training.scalars import MlflowScalars, TensorBoardScalars, open_scalars


def shown(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, round(event.value, 3)) for event in events.Scalars("loss")]


def test_a_config_that_names_no_sink_opens_none() -> None:
    assert open_scalars(RunConfig(), 0) == []


def test_tensorboard_shows_each_step_once_after_a_restart(tmp_path: Path) -> None:
    config = RunConfig(observe=ObserveConfig(tensorboard=str(tmp_path)))
    (first,) = open_scalars(config, 0)
    for step in range(1, 8):
        first.add(step, {"loss": step / 10})
    first.checkpoint(7, "w" * 64)  # and then it is killed
    (again,) = open_scalars(config, 4)
    for step in range(5, 10):
        again.add(step, {"loss": step / 10 + 1})
    again.close(finished=True)
    assert isinstance(first, TensorBoardScalars)
    assert shown(tmp_path / "main") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)] + [
        (step, round(step / 10 + 1, 3)) for step in range(5, 10)
    ]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"observe.tensorboard .*file cannot be written \(Not a directory\)"):
        open_scalars(RunConfig(observe=ObserveConfig(tensorboard=str(tmp_path / "file"))), 0)


@pytest.mark.parametrize(("sink", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow-skinny")])
def test_a_missing_package_is_named_with_how_to_get_it(
    sink: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = RunConfig(observe=ObserveConfig.model_validate({sink: "somewhere"}))
    with pytest.raises(InputError, match=rf"observe.{sink} needs the package {package}, .*: pip install {package}"):
        open_scalars(config, 0)


@pytest.fixture
def tracking_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """MLflow's own store in a folder, which is what the small package has without a server."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file:{tmp_path / 'mlflow'}"


def observed(uri: str, workspace: str = "w", run: str = "main", num_steps: int = 9) -> RunConfig:
    settings = {"workspace": workspace, "run": run, "training": {"num_steps": num_steps}, "observe": {"mlflow": uri}}
    return RunConfig.model_validate(settings)


def test_mlflow_finds_the_run_again_and_takes_no_step_twice(tracking_uri: str) -> None:
    (first,) = open_scalars(observed(tracking_uri), 0)
    for step in range(1, 8):
        first.add(step, {"loss": step / 10, "learning_rate": 0.1})
    first.checkpoint(4, "w" * 64)
    first.close(finished=False)
    longer = observed(tracking_uri, num_steps=12)
    (again,) = open_scalars(longer, 4)
    for step in range(5, 13):
        again.add(step, {"loss": step / 10})
    again.checkpoint(12, "v" * 64)
    again.close(finished=True)
    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("motherlode")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    told = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in told] == [(step, step / 10) for step in range(1, 13)]
    assert run.info.status == "FINISHED" and run.info.run_name == "main"
    assert run.data.tags["motherlode.weights_digest"] == "v" * 64
    assert run.data.tags["motherlode.config_digest"] == longer.digest()
    assert run.data.params["training.num_steps"] == "9", "as it began"
    assert not any(name.startswith("observe") for name in run.data.params)


def test_runs_of_other_names_and_workspaces_are_runs_of_their_own(tracking_uri: str) -> None:
    configs = [observed(tracking_uri), observed(tracking_uri, run="other"), observed(tracking_uri, workspace="v")]
    ids = {MlflowScalars(tracking_uri, config)._id for config in [*configs, *configs]}
    assert len(ids) == 3


def test_a_server_that_does_not_answer_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnavailableError, match=r"observe.mlflow http://127.0.0.1:9 cannot be used \(.*Max retries"):
        open_scalars(observed("http://127.0.0.1:9"), 0)
