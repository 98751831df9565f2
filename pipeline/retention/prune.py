"""Prune: garbage collection in a workspace, by mark and sweep, while other jobs work in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import RetentionConfig
from pipeline.failpoints import Failpoint, reach
from pipeline.progress import stage
from pipeline.retention.snapshot import Snapshot
from pipeline.retention.sweep import Sweep, plan_sweep
from pipeline.storage.leases import LEASE_DURATION_S
from pipeline.storage.tombstones import Tombstones
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class PruneResult:
    """What a prune did, or would do.

    Attributes:
        sweep: What it planned.
        num_temporaries: Temporary files of killed writers that it deleted.
    """

    sweep: Sweep
    num_temporaries: int

    @property
    def freed_bytes(self) -> int:
        """Size of what is deleted now."""
        return sum(garbage.num_bytes for garbage in self.sweep.garbage)

    @property
    def later_bytes(self) -> int:
        """Size of what a prune after the grace period will delete."""
        return sum(version.num_bytes for version in self.sweep.dead_versions)

    def report(self) -> dict[str, Any]:
        """Returns a JSON-able document."""
        return {
            "retired": [
                {"publication": version.dataset.prefix, "number": version.number, "num_bytes": version.num_bytes}
                for version in self.sweep.dead_versions
            ],
            "removed": [
                {"what": garbage.description, "num_objects": len(garbage.entries), "num_bytes": garbage.num_bytes}
                for garbage in self.sweep.garbage
            ],
            "num_unfinished": self.num_temporaries,
            "freed_bytes": self.freed_bytes,
            "later_bytes": self.later_bytes,
        }


def prune(workspace: Workspace, retention: RetentionConfig, dry_run: bool = False) -> PruneResult:
    """Turns manifests that are not live into tombstones, and deletes what has been dead for a grace period.

    It can be killed at any instant, run twice at once, and run again. It deletes nothing that a lease pins, and no part
    that was stored, or whose tombstone was written, less than a grace period ago by the store's clock.

    Args:
        workspace: All of its runs are pruned, since they share corpora and embeddings.
        retention: How much stays, and the grace period.
        dry_run: Find out what would be done, and change nothing.

    Raises:
        CorruptDataError: A manifest cannot be read; nothing was done, as nobody knows what it needs.
    """
    sweep = plan_sweep(Snapshot.take(workspace), retention)
    if dry_run:
        return PruneResult(sweep, 0)
    for version in sweep.dead_versions:
        Tombstones(version.dataset).add(version.number)
    _delete(workspace, [entry.key for garbage in sweep.garbage for entry in garbage.entries])
    return PruneResult(sweep, workspace.store.delete_temporaries(max(retention.grace_s, LEASE_DURATION_S)))


def _delete(workspace: Workspace, keys: Sequence[str]) -> None:
    if not keys:
        return
    with stage("prune", len(keys), "objects") as advance:
        for key in keys:
            workspace.store.delete(key)
            reach(Failpoint.OBJECT_DELETED)
            advance()
