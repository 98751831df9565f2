"""What the audit refused, kept for whoever looks in the morning: one record for each checkpoint."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.config import MiningConfig
from pipeline.errors import AuditRefusedError, CorruptDataError
from pipeline.storage.workspace import Workspace


class Refusal(BaseModel):
    """Why no generation was published from a checkpoint.

    Attributes:
        step: Of the checkpoint.
        created_at: By the clock of the refresh (UTC, ISO 8601).
        weights_digest: Of the checkpoint.
        corpus_fingerprint: Of the corpus that was embedded.
        mining: What was to be mined.
        reason: One sentence: what was wrong, and what to try.
        figures: What was measured.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    created_at: str
    weights_digest: str
    corpus_fingerprint: str
    mining: MiningConfig
    reason: str
    figures: dict[str, float]


@contextmanager
def recorded_refusal(
    workspace: Workspace, step: int, weights_digest: str, corpus_fingerprint: str, mining: MiningConfig
) -> Iterator[None]:
    """Writes down a refusal that is raised inside the block; a later one of the same checkpoint takes its place."""
    try:
        yield
    except AuditRefusedError as error:
        refusal = Refusal(
            step=step,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            weights_digest=weights_digest,
            corpus_fingerprint=corpus_fingerprint,
            mining=mining,
            reason=str(error),
            figures={name: value for name, value in error.figures.items() if math.isfinite(value)},
        )
        document = refusal.model_dump_json(indent=2) + "\n"
        workspace.store.put(workspace.refusal_key(step), document.encode())
        raise


def read_refusals(workspace: Workspace) -> list[Refusal]:
    """All refusals of the run, by step.

    Raises:
        CorruptDataError: One is not what the audit writes.
    """
    return [_read(workspace, key) for key in workspace.store.list(workspace.refusals_prefix)]


def find_refusal(workspace: Workspace, step: int, weights_digest: str) -> Refusal | None:
    """The refusal of a checkpoint, if there is one.

    Raises:
        CorruptDataError: It is not what the audit writes.
    """
    key = workspace.refusal_key(step)
    refusal = _read(workspace, key) if workspace.store.exists(key) else None
    return refusal if refusal is not None and refusal.weights_digest == weights_digest else None


def _read(workspace: Workspace, key: str) -> Refusal:
    try:
        return Refusal.model_validate_json(workspace.store.get(key))
    except ValidationError:
        raise CorruptDataError(
            f"{key!r} in {workspace.store.uri} is no refusal of the audit: delete it, the next refresh writes it again"
        ) from None
