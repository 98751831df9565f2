import os
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.storage import leases
from pipeline.storage.leases import Lease, acquire, list_leases
from pipeline.storage.locks import acquire_or_wait, training_lock
from pipeline.storage.object_store import open_store
from pipeline.storage.workspace import Workspace


def acquired(workspace: Workspace, name: str = "train-main") -> Lease:
    lease = acquire(workspace.store, name, "another job")
    assert isinstance(lease, Lease)
    return lease


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(open_store(str(tmp_path)), "main")


def test_an_existing_result_is_returned_without_a_lock(workspace: Workspace) -> None:
    assert acquire_or_wait(workspace, "work", "", lambda: "it") == "it"
    assert workspace.store.list("leases") == []


def test_the_second_job_waits_for_the_result_of_the_first(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    results: list[str] = []
    first = acquire_or_wait(workspace, "work", "mining", lambda: None)
    assert isinstance(first, Lease)
    threading.Timer(1.5, lambda: results.append("it")).start()
    with first.renewing():
        assert acquire_or_wait(workspace, "work", "", lambda: results[0] if results else None) == "it"
    log = capfd.readouterr().err
    assert log.count("another job does this work: mining (host ") == 1, "announced once"


def test_a_waiting_job_takes_over_if_the_first_one_fails(workspace: Workspace) -> None:
    first = acquired(workspace, "work")
    may_fail = threading.Event()

    def fail() -> None:
        with first.renewing():
            may_fail.wait()

    thread = threading.Thread(target=fail)
    thread.start()
    threading.Timer(1.0, may_fail.set).start()
    assert isinstance(acquire_or_wait(workspace, "work", "", lambda: None), Lease)
    thread.join()


def test_a_second_trainer_is_told_who_trains_the_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 4.0)
    lease = acquired(workspace)
    refused = pytest.raises(InputError, match=r"is being trained by another job: another job \(host .*--run")
    with lease.renewing(), refused, training_lock(workspace):
        raise AssertionError
    with training_lock(workspace):
        assert [lease.record.purpose for lease in list_leases(workspace.store)] == ["training of run 'main'"]
    assert list_leases(workspace.store) == []


def test_two_runs_can_be_trained_at_once(workspace: Workspace) -> None:
    with training_lock(workspace), training_lock(Workspace(workspace.store, "other")):
        assert len(list_leases(workspace.store)) == 2


def test_the_lock_of_a_trainer_that_died_elsewhere_is_acquired_once_it_has_expired(
    workspace: Workspace, tmp_path: Path
) -> None:
    lease = acquired(workspace)
    lease._record = lease._record.model_copy(update={"machine": "another"})  # who can tell here whether it runs?
    lease.set_pins()
    file = tmp_path / "leases" / "train-main.json"
    then = time.time() - leases.LEASE_DURATION_S + 3.0
    os.utime(file, (then, then))
    start = time.monotonic()
    with training_lock(workspace):
        assert time.monotonic() - start > 1.0, "it might have been alive"
