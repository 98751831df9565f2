"""Scalars of a training run, step by step, for TensorBoard and MLflow. Neither changes anything that is learned."""

import hashlib
import importlib.util
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from pipeline.config import ObserveConfig, RunConfig
from pipeline.errors import InputError, UnavailableError

_LOG = logging.getLogger(__name__)

_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny"}
_FLUSH_INTERVAL_S = 5.0
_POINTS_PER_REQUEST, _PARAMS_PER_REQUEST = 1000, 100  # what MLflow takes at once
_KEY, _DIGEST, _WEIGHTS = "motherlode.key", "motherlode.config_digest", "motherlode.weights_digest"


class Scalars(Protocol):
    """Takes the numbers of steps."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes values by name; ``step`` is how many steps were taken."""

    def checkpoint(self, step: int, weights_digest: str) -> None:
        """A checkpoint stands: what was added is worth keeping now."""

    def close(self, finished: bool) -> None:
        """Writes what is left; ``finished``: training has reached its last step."""


def check_packages(config: ObserveConfig) -> None:
    """Refuses a sink whose package is missing.

    Raises:
        InputError: As it says.
    """
    for name, package in _PACKAGES.items():
        if getattr(config, name) is not None and importlib.util.find_spec(name) is None:
            raise InputError(
                f"observe.{name} needs the package {package}, which is not installed: pip install {package} "
                f"wherever training workers run, or set observe.{name} null"
            )


def open_scalars(config: RunConfig, step: int) -> list[Scalars]:
    """The sinks that the config names, going on after ``step``.

    Raises:
        InputError: A package is missing, or the folder cannot be written.
        UnavailableError: MLflow does not answer.
    """
    check_packages(config.observe)
    observe, sinks = config.observe, list[Scalars]()
    if observe.tensorboard is not None:
        sinks.append(TensorBoardScalars(Path(observe.tensorboard) / config.run, step))
    if observe.mlflow is not None:
        sinks.append(MlflowScalars(observe.mlflow, config))
    return sinks


class TensorBoardScalars:
    """Event files in a folder."""

    def __init__(self, folder: Path, step: int) -> None:
        """Begins a file in the run's own folder; what it has of steps after the checkpoint's will not be shown."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 — optional, and seconds of imports

        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)
        except OSError as error:
            raise InputError(
                f"observe.tensorboard {folder.parent} cannot be written ({error.strerror}): name a folder that can, on "
                "the node of the first training worker"
            ) from None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes them; a thread of TensorBoard's brings them to the disk."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def checkpoint(self, step: int, weights_digest: str) -> None:
        """What was added is on the disk from now on."""
        self._writer.flush()

    def close(self, finished: bool) -> None:
        """Ends the file."""
        self._writer.close()


class MlflowScalars:
    """A run of MLflow, which a restarted training finds again. Training never waits for the server once it is open."""

    def __init__(self, uri: str, config: RunConfig) -> None:
        """Finds the run of this workspace and name, or creates it.

        Raises:
            UnavailableError: MLflow does not answer.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # its own 7 take four minutes
        from mlflow import MlflowClient  # noqa: PLC0415 — optional, and seconds of imports
        from mlflow.entities import Metric  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        self._metric, self._error = Metric, MlflowException
        self._points: list[Any] = []
        self._pending: list[Any] = []
        self._last_flush = time.monotonic()
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._id = self._find(config) or self._create(config)
            self._client.set_tag(self._id, _DIGEST, config.digest())
            self._client.update_run(self._id, "RUNNING")
            points = self._client.get_metric_history(self._id, "loss")
        except MlflowException as error:
            first_line = next(iter(str(error).splitlines()), "no answer")
            raise UnavailableError(f"observe.mlflow {uri} cannot be used ({first_line[:200]}): check the server, or "
                                   "set observe.mlflow null") from error  # fmt: skip
        self._newest_step = max((point.step for point in points), default=-1)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id) if found is not None else str(self._client.create_experiment(name))

    def _find(self, config: RunConfig) -> str | None:
        wanted = f"tags.`{_KEY}` = '{_key(config)}'"
        found = self._client.search_runs([self._experiment(config.observe.mlflow_experiment)], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _create(self, config: RunConfig) -> str:
        from mlflow.entities import Param  # noqa: PLC0415

        experiment = self._experiment(config.observe.mlflow_experiment)
        tags = {_KEY: _key(config), "motherlode.run": config.run}
        created = str(self._client.create_run(experiment, tags=tags, run_name=config.run).info.run_id)
        settings = config.model_dump(mode="json", exclude={"observe"})
        params = [Param(name, str(value)) for name, value in _flat(settings)]
        for start in range(0, len(params), _PARAMS_PER_REQUEST):
            self._client.log_batch(created, params=params[start : start + _PARAMS_PER_REQUEST])
        return created

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps them for the next request. Steps that MLflow has, from before a restart, are not told twice."""
        if step <= self._newest_step:
            return
        now_ms = int(time.time() * 1000)
        self._points += [self._metric(name, value, now_ms, step) for name, value in values.items()]
        due = time.monotonic() - self._last_flush > _FLUSH_INTERVAL_S
        if due or len(self._points) > _POINTS_PER_REQUEST - len(values):
            self._flush()

    def checkpoint(self, step: int, weights_digest: str) -> None:
        """Names the newest weights."""
        self._flush()
        self._pending.append(self._client.set_tag(self._id, _WEIGHTS, weights_digest, synchronous=False))

    def close(self, finished: bool) -> None:
        """Waits for what is on its way; what the server does not take is left out, with a warning in the log."""
        self._flush()
        try:
            for operation in self._pending:
                operation.wait()
            self._client.set_terminated(self._id, "FINISHED" if finished else "FAILED")
        except self._error as error:
            _LOG.warning("MLflow did not take all of run %s: %s", self._id, error)

    def _flush(self) -> None:
        self._last_flush = time.monotonic()
        if self._points:
            self._pending.append(self._client.log_batch(self._id, metrics=self._points, synchronous=False))
            self._points = []


def _key(config: RunConfig) -> str:
    """One run of a workspace, one run of MLflow."""
    return hashlib.sha256(f"{config.workspace}\n{config.run}".encode()).hexdigest()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names and their values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
