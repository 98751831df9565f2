"""What the audit refused, kept for whoever looks in the morning: one record for each checkpoint."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from pipeline.errors import AuditRefusedError
from pipeline.storage.workspace import Workspace


class Refusal(BaseModel):
    """Why no generation was published from a checkpoint.

    Attributes:
        step: Of the checkpoint.
        created_at: By the clock of the refresh (UTC, ISO 8601).
        weights_digest: Of the checkpoint.
        reason: One sentence: what was wrong, and what to try.
        figures: What was measured.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    created_at: str
    weights_digest: str
    reason: str
    figures: dict[str, float]


@contextmanager
def recorded_refusal(workspace: Workspace, step: int, weights_digest: str) -> Iterator[None]:
    """Writes down a refusal that is raised inside the block; a later one of the same checkpoint takes its place."""
    try:
        yield
    except AuditRefusedError as error:
        refusal = Refusal(
            step=step,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            weights_digest=weights_digest,
            reason=str(error),
            figures={name: value for name, value in error.figures.items() if math.isfinite(value)},
        )
        document = json.dumps(refusal.model_dump(), indent=2) + "\n"
        workspace.store.put(workspace.refusal_key(step), document.encode())
        raise


def read_refusals(workspace: Workspace) -> list[Refusal]:
    """All refusals of the run, by step."""
    keys = workspace.store.list(workspace.refusals_prefix)
    return [Refusal.model_validate_json(workspace.store.get(key)) for key in keys]
