"""What one arm (a way of choosing triplets) achieved with one seed."""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0.0)]


class _Record(BaseModel):
    """Stored as JSON: unknown keys and numbers that JSON cannot hold (NaN, infinity) are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class CurvePoint(_Record):
    """One evaluation on held-out labels."""

    step: Count
    """Optimiser steps so far."""
    images: Count
    """Images forwarded through the network so far, as the budget counts them."""
    metrics: Annotated[dict[str, float], Field(min_length=1)]
    """By stable name (``recall_at_1``, ``val_at_far_1e-03``, ``roc_auc``), the higher the better."""
    train_s: Seconds
    """Wall seconds of training so far."""
    refresh_s: Seconds
    """Wall seconds of embedding and mining so far."""

    @property
    def wall_s(self) -> float:
        """Wall seconds of training, embedding and mining so far; evaluation is left out."""
        return self.train_s + self.refresh_s


class ArmResult(_Record):
    """One arm, trained with one seed until the budget was used up.

    Results of one seed share the initial weights and the split into labels, so that they can be compared in pairs.
    """

    arm: Annotated[str, Field(min_length=1)]
    """Name of the arm."""
    seed: Count
    """Seeds the initial weights and every draw; the split into labels is the corpus's, and the same for all seeds."""
    digest: str
    """Identifies the settings that the result was computed with."""
    curve: Annotated[tuple[CurvePoint, ...], Field(min_length=1)]
    """Images strictly ascending, steps and seconds never falling, the same metrics at every point."""
    facts: dict[str, float]
    """Means over the training, such as ``active_share``; one that does not apply is left out."""

    @property
    def final(self) -> CurvePoint:
        """The last evaluation, at the end of the budget."""
        return self.curve[-1]

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        name = f"the curve of {self.arm}, seed {self.seed},"
        for earlier, later in pairwise(self.curve):
            if later.images <= earlier.images:
                raise ValueError(f"{name} has {later.images} images after {earlier.images}")
            if later.metrics.keys() != earlier.metrics.keys():
                raise ValueError(f"{name} changes its metrics at {later.images} images")
            for label, field in _CUMULATIVE.items():
                if getattr(later, field) < getattr(earlier, field):
                    raise ValueError(f"{name} has fewer {label} at {later.images} images than before")
        return self


_CUMULATIVE = {"steps": "step", "seconds of training": "train_s", "seconds of refreshing": "refresh_s"}
