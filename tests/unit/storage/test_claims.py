import os
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.storage import leases
from pipeline.storage.claims import claim_or_await, sole_trainer
from pipeline.storage.leases import Lease, claim, standing_leases
from pipeline.storage.object_store import open_store
from pipeline.storage.workspace import Workspace


def claimed(workspace: Workspace, name: str = "train-main") -> Lease:
    lease = claim(workspace.store, name, "another job")
    assert isinstance(lease, Lease)
    return lease


def from_another_machine(lease: Lease) -> Lease:
    """Whether its process lives cannot be seen from here."""
    lease._record = lease._record.model_copy(update={"machine": "another"})
    lease.pin()
    return lease


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(open_store(str(tmp_path)), "main")


def test_what_stands_is_returned_and_nothing_claimed(workspace: Workspace) -> None:
    assert claim_or_await(workspace, "work", "", lambda: "it") == "it"
    assert workspace.store.list("leases") == []


def test_who_comes_second_waits_for_what_the_first_one_makes(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []
    first = claim_or_await(workspace, "work", "mining", lambda: None)
    assert isinstance(first, Lease)
    threading.Timer(1.5, lambda: made.append("it")).start()
    with first.kept():
        assert claim_or_await(workspace, "work", "", lambda: made[0] if made else None) == "it"
    words = capfd.readouterr().err
    assert words.count("another job is at it: mining (host ") == 1, "said once"


def test_who_waits_takes_over_where_the_first_one_fails(workspace: Workspace) -> None:
    first = claimed(workspace, "work")
    released = threading.Event()

    def fail() -> None:
        with first.kept():
            released.wait()

    thread = threading.Thread(target=fail)
    thread.start()
    threading.Timer(1.0, released.set).start()
    assert isinstance(claim_or_await(workspace, "work", "", lambda: None), Lease)
    thread.join()


def test_a_second_trainer_is_told_who_trains_the_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 4.0)
    lease = claimed(workspace)
    told = pytest.raises(InputError, match=r"is being trained by another job: another job \(host .*--run")
    with lease.kept(), told, sole_trainer(workspace):
        raise AssertionError
    with sole_trainer(workspace):
        assert [str(one.record).partition(" (")[0] for one in standing_leases(workspace.store)] == [
            "training of run 'main'"
        ]
    assert standing_leases(workspace.store) == []


def test_another_run_has_a_trainer_of_its_own(workspace: Workspace) -> None:
    with sole_trainer(workspace), sole_trainer(Workspace(workspace.store, "other")):
        assert len(standing_leases(workspace.store)) == 2


def test_a_trainer_that_died_elsewhere_is_succeeded_once_its_lease_has_lapsed(
    workspace: Workspace, tmp_path: Path
) -> None:
    from_another_machine(claimed(workspace))
    file = tmp_path / "leases" / "train-main.json"
    then = time.time() - leases.LEASE_S + 3.0
    os.utime(file, (then, then))
    start = time.monotonic()
    with sole_trainer(workspace):
        assert time.monotonic() - start > 1.0, "it might have been alive"
