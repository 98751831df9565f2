"""Claims: what two jobs were asked for, one of them does.

They rest on leases, and save work only: where both go ahead all the same, a conditional create decides.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.errors import InputError
from pipeline.progress import say
from pipeline.storage.leases import LEASE_S, Lease, Standing, claim, find
from pipeline.storage.workspace import Workspace

T = TypeVar("T")

_POLL_INTERVAL_S = 1.0
_CLOCK_TOLERANCE_S = 2.0  # S3 counts whole seconds, and its servers' clocks may differ a little


def await_others(workspace: Workspace, name: str, done: Callable[[], T | None]) -> T | None:
    """Waits while another job is at some work; the arguments are those of ``claim_or_await``.

    Returns:
        What ``done`` found; None where it has found nothing and nobody is at it.
    """
    told = False
    while (found := done()) is None and (standing := find(workspace.store, name)) is not None:
        if not told:
            say(f"another job is at it: {standing.record}; waiting for what it publishes")
            told = True
        time.sleep(_POLL_INTERVAL_S)
    return found


def claim_or_await(
    workspace: Workspace, name: str, purpose: str, done: Callable[[], T | None], *pins: str
) -> T | Lease:
    """Claims work that ends with something that everybody can see; where another job is at it, waits for that.

    Args:
        workspace: Where.
        name: Of the work.
        purpose: In words for people.
        done: What the work ends with, or None while it has not.
        *pins: What the work needs.

    Returns:
        What ``done`` found; or our lease, for it has not been found and nobody else is at it.
    """
    while (found := await_others(workspace, name, done)) is None:
        lease = claim(workspace.store, name, purpose, *pins)
        if isinstance(lease, Lease):
            return lease
    return found


@contextmanager
def sole_trainer(workspace: Workspace) -> Iterator[None]:
    """Keeps other trainers out of the run while the block runs.

    Where a lease stands, its holder may have been killed on another machine: that is known when it was not renewed.

    Raises:
        InputError: Another job is training the run.
    """
    name, purpose = f"train-{workspace.run}", f"training of run {workspace.run!r}"
    lease = claim(workspace.store, name, purpose)
    if isinstance(lease, Standing):
        say(f"run {workspace.run!r} has a trainer: {lease.record}; making sure that it lives takes up to {LEASE_S:g} s")
        lease = _once_lapsed(workspace, name, purpose, lease)
    with lease.kept():
        yield


def _once_lapsed(workspace: Workspace, name: str, purpose: str, standing: Standing) -> Lease:
    holder, age_s, start = standing.record.holder, standing.age_s, time.monotonic()
    while (seen := find(workspace.store, name)) is not None:
        is_renewed = seen.age_s < age_s - _CLOCK_TOLERANCE_S or time.monotonic() - start > LEASE_S + _CLOCK_TOLERANCE_S
        if seen.record.holder != holder or is_renewed:
            raise InputError(
                f"run {workspace.run!r} in {workspace.store.uri} is being trained by another job: {seen.record}: wait "
                "for its end, or give this one another --run"
            )
        age_s = seen.age_s
        time.sleep(_POLL_INTERVAL_S)
    lease = claim(workspace.store, name, purpose)
    return lease if isinstance(lease, Lease) else _once_lapsed(workspace, name, purpose, lease)
