"""How a run can be watched. Nothing here changes what is mined or learned."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from pipeline.config.base import ConfigPart


class ObserveConfig(ConfigPart):
    """Where the numbers of a run go, besides its workspace. Prometheus finds them at Ray's own endpoint."""

    log_format: Literal["text", "json"] = "text"
    """json: every line on stderr is one JSON object, for Loki, CloudWatch and the like."""
    tensorboard: str | None = None
    """A local folder for TensorBoard, one folder a run below it, on the node of the first training worker."""
    mlflow: str | None = None
    """Tracking URI of an MLflow server; credentials come from the environment, as MLflow reads them."""
    mlflow_experiment: Annotated[str, Field(min_length=1)] = "motherlode"
    """Name of the experiment there; each run of ours is one run of it."""

    @model_validator(mode="after")
    def _tensorboard_is_local(self) -> Self:
        if self.tensorboard is not None and "://" in self.tensorboard:
            raise ValueError("observe.tensorboard must be a local folder: a service of its own may copy it elsewhere")
        return self

    @model_validator(mode="after")
    def _uri_holds_no_credentials(self) -> Self:
        if self.mlflow is not None and "@" in urlsplit(self.mlflow).netloc:
            raise ValueError(
                "observe.mlflow holds credentials: give them in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return self
