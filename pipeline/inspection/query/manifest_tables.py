"""The manifests of a run's generations and checkpoints as Arrow tables, a row each."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import KINDS, GenerationManifest

_TIME = pa.timestamp("s")
_COPIED_COLUMNS = (
    "number", "parent", "checkpoint_step", "weights_digest", "corpus_fingerprint", "embeddings_key", "config_digest",
    "seed", "backend", "num_pairs", "num_pairs_without_negative", "num_triplets", "num_pairs_from_index_to_scan",
    "num_pairs_verified", "agreement", "warm_start_generation", "spread", "effective_rank", "old_share",
)  # fmt: skip
_TYPES = {
    "weights_digest": pa.string(), "corpus_fingerprint": pa.string(), "embeddings_key": pa.string(),
    "config_digest": pa.string(), "backend": pa.string(), "agreement": pa.float64(), "spread": pa.float64(),
    "effective_rank": pa.float64(), "old_share": pa.float64(),
}  # fmt: skip

GENERATIONS = pa.schema(
    [(name, _TYPES.get(name, pa.int64())) for name in _COPIED_COLUMNS]
    + [("created_at", _TIME), ("mode", pa.string()), ("band", pa.string())]
    + [(kind, pa.int64()) for kind in KINDS]
    + [("quarantined", pa.map_(pa.string(), pa.int64())), ("num_shards", pa.int64()), ("num_bytes", pa.int64())]
)
"""Times are UTC; ``band`` is JSON; ``num_bytes`` counts all parts."""

CHECKPOINTS = pa.schema(
    [
        ("step", pa.int64()),
        ("parent", pa.int64()),
        ("generation", pa.int64()),
        ("created_at", _TIME),
        ("weights_digest", pa.string()),
        ("corpus_fingerprint", pa.string()),
        ("encoder", pa.string()),
        ("metrics", pa.map_(pa.string(), pa.float64())),
    ]
)
"""``generation`` is the trainer's pinned generation."""


def generation_table(workspace: Workspace) -> pa.Table:
    """The run's generations, in the schema GENERATIONS."""
    rows = [_generation_row(manifest) for manifest in reversed(list(generations(workspace).newest_first()))]
    return pa.Table.from_pylist(rows, schema=GENERATIONS)


def checkpoint_table(workspace: Workspace) -> pa.Table:
    """The run's checkpoints, in the schema CHECKPOINTS."""
    rows = [_checkpoint_row(manifest) for manifest in reversed(list(checkpoints(workspace).newest_first()))]
    return pa.Table.from_pylist(rows, schema=CHECKPOINTS)


def _generation_row(manifest: GenerationManifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in _COPIED_COLUMNS} | {
        "created_at": _time(manifest.created_at),
        "mode": manifest.mining.band.mode,
        "band": manifest.mining.band.model_dump_json(),
        **{kind: manifest.kinds.get(kind, 0) for kind in KINDS},
        "quarantined": list(manifest.quarantined.items()),
        "num_shards": len(manifest.parts_of("triplets")),
        "num_bytes": sum(part.num_bytes for part in manifest.parts),
    }


def _checkpoint_row(manifest: CheckpointManifest) -> dict[str, Any]:
    copied = ("step", "parent", "generation", "weights_digest", "corpus_fingerprint")
    return {name: getattr(manifest, name) for name in copied} | {
        "created_at": _time(manifest.created_at),
        "encoder": manifest.encoder.name,
        "metrics": list(manifest.metrics.items()),
    }


def _time(text: str) -> datetime:
    """As UTC without a zone, which DuckDB compares with literals as they are written."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
