"""Advisory locks: of several jobs that are asked for the same work, one does it and the others wait for its result.

The locks are leases. They only save work: if two jobs do the same work all the same, a conditional create decides.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.storage.leases import LEASE_DURATION_S, ActiveLease, Lease, acquire, find_lease
from pipeline.storage.workspace import Workspace

T = TypeVar("T")

_POLL_INTERVAL_S = 1.0
_CLOCK_TOLERANCE_S = 2.0  # S3 counts whole seconds, and its servers' clocks may differ a little


def wait_for_holder(workspace: Workspace, name: str, find_result: Callable[[], T | None]) -> T | None:
    """Waits while another job holds a lock; the arguments are those of ``acquire_or_wait``.

    Returns:
        What ``find_result`` found; None if it found nothing and nobody holds the lock.
    """
    is_announced = False
    while (result := find_result()) is None and (active := find_lease(workspace.store, name)) is not None:
        if not is_announced:
            log(f"another job does this work: {active.record}; waiting for its result")
            is_announced = True
        time.sleep(_POLL_INTERVAL_S)
    return result


def acquire_or_wait(
    workspace: Workspace, name: str, purpose: str, find_result: Callable[[], T | None], *pins: str
) -> T | Lease:
    """Acquires the lock on work whose result everybody can see; while another job holds it, waits for the result.

    Args:
        workspace: Where the work is done.
        name: The name by which all jobs know the work.
        purpose: What the holder does, in words for people.
        find_result: Returns the result of the work, or None while there is none.
        *pins: What the work needs; see ``LeaseRecord``.

    Returns:
        What ``find_result`` found; or our lease, if it found nothing and nobody else holds the lock.
    """
    while (result := wait_for_holder(workspace, name, find_result)) is None:
        lease = acquire(workspace.store, name, purpose, *pins)
        if isinstance(lease, Lease):
            return lease
    return result


@contextmanager
def training_lock(workspace: Workspace) -> Iterator[None]:
    """Keeps other trainers out of the run while the block runs.

    The holder of an active lease may have been killed on another machine: then the lease expires, as nobody renews it.

    Raises:
        InputError: Another job is training the run.
    """
    name, purpose = f"train-{workspace.run}", f"training of run {workspace.run!r}"
    lease = acquire(workspace.store, name, purpose)
    if isinstance(lease, ActiveLease):
        fact = f"run {workspace.run!r} is locked by another trainer: {lease.record}"
        log(f"{fact}; finding out whether it still runs takes up to {LEASE_DURATION_S:g} s")
        lease = _acquire_once_expired(workspace, name, purpose, lease)
    with lease.renewing():
        yield


def _acquire_once_expired(workspace: Workspace, name: str, purpose: str, active: ActiveLease) -> Lease:
    holder, age_s, start = active.record.holder, active.age_s, time.monotonic()
    while (seen := find_lease(workspace.store, name)) is not None:
        is_overdue = time.monotonic() - start > LEASE_DURATION_S + _CLOCK_TOLERANCE_S
        if seen.record.holder != holder or seen.age_s < age_s - _CLOCK_TOLERANCE_S or is_overdue:
            raise InputError(
                f"run {workspace.run!r} in {workspace.store.uri} is being trained by another job: {seen.record}: wait "
                "until it ends, or choose another --run"
            )
        age_s = seen.age_s
        time.sleep(_POLL_INTERVAL_S)
    lease = acquire(workspace.store, name, purpose)
    return lease if isinstance(lease, Lease) else _acquire_once_expired(workspace, name, purpose, lease)
