import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.storage import leases
from pipeline.storage.leases import Lease, Standing, claim, find, reader, standing_leases
from pipeline.storage.object_store import ObjectStore, open_store
from tests.unit.storage.test_entries import age


def ours(claimed: Lease | Standing) -> Lease:
    assert isinstance(claimed, Lease)
    return claimed


def test_of_two_claims_one_is_told_who_has_it(store: ObjectStore) -> None:
    with ours(claim(store, "work", "the first one's work", "a/b/")).kept():
        second = claim(store, "work", "the second one's work")
        assert isinstance(second, Standing)
        assert str(second.record).startswith("the first one's work (host ")
        assert second.record.pins == ("a/b/",)
        assert isinstance(claim(store, "other work", ""), Lease)
    assert find(store, "work") is None, "given up at the end"
    assert isinstance(claim(store, "work", ""), Lease)


def test_a_lease_is_given_up_where_the_work_fails(store: ObjectStore) -> None:
    with pytest.raises(ZeroDivisionError), ours(claim(store, "work", "")).kept():
        raise ZeroDivisionError
    assert standing_leases(store) == []


def test_pins_replace_one_another_and_those_of_the_start_stay(store: ObjectStore) -> None:
    lease = reader(store, "reading", "always")
    assert standing_leases(store)[0].record.pins == ("always",)
    lease.pin("b", "a")
    assert standing_leases(store)[0].record.pins == ("a", "always", "b")
    lease.pin("c")
    assert standing_leases(store)[0].record.pins == ("always", "c")


def test_many_readers_hold_leases_side_by_side(store: ObjectStore) -> None:
    with reader(store, "one", "a").kept(), reader(store, "two", "b").kept():
        assert sorted(one.record.purpose for one in standing_leases(store)) == ["one", "two"]


def test_what_is_held_is_renewed_and_what_is_not_lapses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path))
    file = tmp_path / "leases" / "work.json"
    with ours(claim(store, "work", "")).kept():
        age(file, 2 * leases.LEASE_S)
        deadline = time.monotonic() + 20.0
        while find(store, "work") is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert find(store, "work") is not None, "renewed"
    ours(claim(store, "work", ""))  # never kept, so never renewed
    age(file, 2 * leases.LEASE_S)
    assert find(store, "work") is None
    assert isinstance(claim(store, "work", "another holder"), Lease)


def test_a_lease_of_a_process_that_was_killed_here_is_known_to_be_over(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from pipeline.storage.leases import claim\n"
        "from pipeline.storage.object_store import open_store\n"
        f"claim(open_store({str(tmp_path)!r}), 'work', 'of a dead process')\n"
        "print(os.getpid(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL, env=os.environ)
    store = open_store(str(tmp_path))
    assert store.list("leases") == ["leases/work.json"]
    assert standing_leases(store) == [], "though it was renewed a moment ago"
    assert isinstance(claim(store, "work", ""), Lease)


def test_a_lease_from_another_machine_stands_until_it_lapses(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    lease = ours(claim(store, "work", ""))
    lease._record = lease._record.model_copy(update={"machine": "another", "process": 2**22})
    lease.pin()
    assert find(store, "work") is not None
    age(tmp_path / "leases" / "work.json", leases.LEASE_S + 1.0)
    assert find(store, "work") is None


def test_a_holder_that_was_paused_for_too_long_does_not_take_its_lease_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path))
    paused = ours(claim(store, "work", "paused"))
    age(tmp_path / "leases" / "work.json", 2 * leases.LEASE_S)
    ours(claim(store, "work", "successor"))
    with paused.kept():
        time.sleep(0.3)
        found = find(store, "work")
        assert found is not None and found.record.purpose == "successor"
    found = find(store, "work")
    assert found is not None and found.record.purpose == "successor", "nor does it end it"


def test_what_is_no_lease_says_nothing(store: ObjectStore) -> None:
    store.put("leases/work.json", b"{}")
    assert standing_leases(store) == []
    assert isinstance(claim(store, "work", ""), Lease)


def test_a_lease_leaves_no_thread_behind(store: ObjectStore) -> None:
    before = threading.active_count()
    with reader(store, "").kept():
        assert threading.active_count() > before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease ")]


def test_a_renewal_that_is_under_way_does_not_undo_a_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path))
    put, first = store.put, threading.Event()

    def put_slowly(key: str, data: bytes) -> None:
        if threading.current_thread().name.startswith("lease "):
            first.set()
            time.sleep(0.5)
        put(key, data)

    monkeypatch.setattr(store, "put", put_slowly)
    with reader(store, "reading").kept() as lease:
        assert first.wait(20.0)
        lease.pin("a")
        monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 60.0)
        time.sleep(1.0)
        assert standing_leases(store)[0].record.pins == ("a",)


def test_a_lease_whose_record_was_removed_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path))
    with reader(store, "reading", "a").kept():
        store.delete(store.list("leases")[0])
        deadline = time.monotonic() + 20.0
        while not store.list("leases") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert standing_leases(store)[0].record.pins == ("a",)
