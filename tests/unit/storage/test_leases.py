import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.storage import leases
from pipeline.storage.leases import ActiveLease, Lease, acquire, acquire_pins, find_lease, list_leases
from pipeline.storage.object_store import ObjectStore, open_store
from tests.support.raylets import wait_until
from tests.unit.storage.test_entries import age


def ours(lease: Lease | ActiveLease) -> Lease:
    assert isinstance(lease, Lease)
    return lease


def test_only_one_job_acquires_a_lease_and_the_other_learns_who_holds_it(store: ObjectStore) -> None:
    with ours(acquire(store, "work", "the first one's work", "a/b/")).renewing():
        second = acquire(store, "work", "the second one's work")
        assert isinstance(second, ActiveLease)
        assert str(second.record).startswith("the first one's work (host ")
        assert second.record.pins == ("a/b/",)
        assert isinstance(acquire(store, "other work", ""), Lease)
    assert find_lease(store, "work") is None, "released at the end"
    assert isinstance(acquire(store, "work", ""), Lease)


def test_a_lease_is_released_if_the_work_fails(store: ObjectStore) -> None:
    with pytest.raises(ZeroDivisionError), ours(acquire(store, "work", "")).renewing():
        raise ZeroDivisionError
    assert list_leases(store) == []


def test_a_store_that_does_not_answer_keeps_nobody_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.01)
    monkeypatch.setattr(leases, "_RELEASE_TIMEOUT_S", 0.1)
    store = open_store(str(tmp_path))
    lease, is_stuck, is_over = acquire_pins(store, "reading"), threading.Event(), threading.Event()

    def put(key: str, data: bytes) -> None:
        is_stuck.set()
        is_over.wait(60)

    monkeypatch.setattr(store, "put", put)
    with pytest.raises(KeyboardInterrupt), lease.renewing():
        assert is_stuck.wait(60)
        raise KeyboardInterrupt
    is_over.set()


def test_new_pins_replace_all_but_the_initial_ones(store: ObjectStore) -> None:
    lease = acquire_pins(store, "reading", "always")
    assert list_leases(store)[0].record.pins == ("always",)
    lease.set_pins("b", "a")
    assert list_leases(store)[0].record.pins == ("a", "always", "b")
    lease.set_pins("c")
    assert list_leases(store)[0].record.pins == ("always", "c")


def test_leases_that_only_pin_exclude_nobody(store: ObjectStore) -> None:
    with acquire_pins(store, "one", "a").renewing(), acquire_pins(store, "two", "b").renewing():
        assert sorted(lease.record.purpose for lease in list_leases(store)) == ["one", "two"]


def test_a_lease_is_renewed_while_it_is_held_and_else_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path))
    file = tmp_path / "leases" / "work.json"
    with ours(acquire(store, "work", "")).renewing():
        age(file, 2 * leases.LEASE_DURATION_S)
        wait_until("it is renewed", lambda: find_lease(store, "work") is not None)
    ours(acquire(store, "work", ""))  # never renewed
    age(file, 2 * leases.LEASE_DURATION_S)
    assert find_lease(store, "work") is None
    assert isinstance(acquire(store, "work", "another holder"), Lease)


def test_the_lease_of_a_process_that_was_killed_on_this_machine_is_not_active(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from pipeline.storage.leases import acquire\n"
        "from pipeline.storage.object_store import open_store\n"
        f"acquire(open_store({str(tmp_path)!r}), 'work', 'of a dead process')\n"
        "print(os.getpid(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL, env=os.environ)
    store = open_store(str(tmp_path))
    assert store.list("leases") == ["leases/work.json"]
    assert list_leases(store) == [], "though it was renewed a moment ago"
    assert isinstance(acquire(store, "work", ""), Lease)


def test_a_lease_of_another_machine_is_active_until_it_expires(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    lease = ours(acquire(store, "work", ""))
    lease._record = lease._record.model_copy(update={"machine": "another", "process": 2**22})
    lease.set_pins()
    assert find_lease(store, "work") is not None
    age(tmp_path / "leases" / "work.json", leases.LEASE_DURATION_S + 1.0)
    assert find_lease(store, "work") is None


def test_a_holder_that_was_paused_for_too_long_has_lost_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path))
    paused = ours(acquire(store, "work", "paused"))
    age(tmp_path / "leases" / "work.json", 2 * leases.LEASE_DURATION_S)
    ours(acquire(store, "work", "successor"))
    with paused.renewing():
        time.sleep(0.3)
        assert [lease.record.purpose for lease in list_leases(store)] == ["successor"]
    assert [lease.record.purpose for lease in list_leases(store)] == ["successor"], "nor does it release that lease"


def test_an_object_that_is_not_a_lease_is_ignored(store: ObjectStore) -> None:
    store.put("leases/work.json", b"{}")
    assert list_leases(store) == []
    assert isinstance(acquire(store, "work", ""), Lease)


def test_a_lease_leaves_no_thread_behind(store: ObjectStore) -> None:
    before = threading.active_count()
    with acquire_pins(store, "").renewing():
        assert threading.active_count() > before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease ")]


def test_a_renewal_that_is_under_way_does_not_undo_new_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path))
    put, is_renewing = store.put, threading.Event()

    def put_slowly(key: str, data: bytes) -> None:
        if threading.current_thread().name.startswith("lease "):
            is_renewing.set()
            time.sleep(0.5)
        put(key, data)

    monkeypatch.setattr(store, "put", put_slowly)
    with acquire_pins(store, "reading").renewing() as lease:
        assert is_renewing.wait(20.0)
        lease.set_pins("a")
        monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 60.0)
        time.sleep(1.0)
        assert list_leases(store)[0].record.pins == ("a",)


def test_a_lease_whose_record_was_removed_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path))
    with acquire_pins(store, "reading", "a").renewing():
        store.delete(store.list("leases")[0])
        wait_until("it is written again", lambda: store.list("leases"))
        assert list_leases(store)[0].record.pins == ("a",)
