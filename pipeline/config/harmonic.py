"""Training a new encoder whose embeddings can be compared with those of an older one."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.config.base import RUN_NAME, ConfigPart, Fraction


class HarmonicConfig(ConfigPart):
    """FaceNet's harmonic embedding (arXiv 1503.03832, appendix): triplets mix vectors of an old encoder and the new."""

    checkpoint: Annotated[str, Field(pattern=rf"^{RUN_NAME}(:[0-9]{{1,9}})?$")]
    """The old encoder: RUN:STEP of this workspace, or RUN for its newest checkpoint at the moment this run begins."""
    encoder_name: str | None = None
    """Import path of the old network, where it is neither a registered one nor encoder.name: code is run because the
    config names it, never because a checkpoint does."""
    mined_share: Fraction = 0.5
    """Share of the examples that stand with their old vector in mining, drawn anew by seed and step."""

    @model_validator(mode="before")
    @classmethod
    def _names_an_old_encoder(cls, values: Any) -> Any:  # noqa: ANN401 — whatever was given; checked afterwards
        if isinstance(values, dict) and values.get("checkpoint") is None:
            raise ValueError("harmonic.checkpoint must name the old encoder: RUN:STEP (or RUN) of this workspace")
        return values

    @property
    def run(self) -> str:
        """The old encoder's run."""
        return self.checkpoint.partition(":")[0]

    @property
    def step(self) -> int | None:
        """The old encoder's step; None: the newest."""
        step = self.checkpoint.partition(":")[2]
        return int(step) if step else None


class OldEncoder(ConfigPart):
    """The checkpoint that a run is comparable with, as its own checkpoints and generations record it."""

    run: str
    step: Annotated[int, Field(ge=0)]
    weights_digest: str

    def __str__(self) -> str:
        return f"{self.run}:{self.step}"
