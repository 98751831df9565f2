"""Prune: makes room in a workspace, beside whoever works in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import RetentionConfig
from pipeline.failpoints import Failpoint, reach
from pipeline.progress import stage
from pipeline.retention.holdings import Holdings
from pipeline.retention.plan import Plan, make_plan
from pipeline.storage.leases import LEASE_DURATION_S
from pipeline.storage.tombstones import Tombstones
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class Pruned:
    """What a prune did, or would do.

    Attributes:
        plan: What it planned.
        num_unfinished: Files that killed writers left half-written.
    """

    plan: Plan
    num_unfinished: int

    @property
    def freed_bytes(self) -> int:
        """Of what went now."""
        return sum(removal.num_bytes for removal in self.plan.removals)

    @property
    def later_bytes(self) -> int:
        """Of what a prune after the grace period will take away."""
        return sum(retirement.num_bytes for retirement in self.plan.retirements)

    def report(self) -> dict[str, Any]:
        """A JSON-able document."""
        return {
            "retired": [
                {"publication": one.dataset.prefix, "number": one.number, "num_bytes": one.num_bytes}
                for one in self.plan.retirements
            ],
            "removed": [
                {"what": one.what, "num_objects": len(one.entries), "num_bytes": one.num_bytes}
                for one in self.plan.removals
            ],
            "num_unfinished": self.num_unfinished,
            "freed_bytes": self.freed_bytes,
            "later_bytes": self.later_bytes,
        }


def prune(workspace: Workspace, retention: RetentionConfig, dry_run: bool = False) -> Pruned:
    """Retires what is not kept, and deletes the parts of what retired, or was left behind, a grace period ago.

    It can be killed at any instant, run twice at once, and run again. Nothing that a lease pins goes, nor anything that
    was stored less than a grace period ago, by the store's clock.

    Args:
        workspace: All of its runs are pruned, since they share corpora and embeddings.
        retention: What is kept.
        dry_run: Only look.

    Raises:
        CorruptDataError: A manifest cannot be read; nothing was done, as nobody knows what it needs.
    """
    plan = make_plan(Holdings.read(workspace), retention)
    if dry_run:
        return Pruned(plan, 0)
    for retirement in plan.retirements:
        Tombstones(retirement.dataset).add(retirement.number)
    _delete(workspace, [entry.key for removal in plan.removals for entry in removal.entries])
    return Pruned(plan, workspace.store.delete_temporaries(max(retention.grace_s, LEASE_DURATION_S)))


def _delete(workspace: Workspace, keys: Sequence[str]) -> None:
    if not keys:
        return
    with stage("prune", len(keys), "objects") as done:
        for key in keys:
            workspace.store.delete(key)
            reach(Failpoint.OBJECT_DELETED)
            done()
