import os
from pathlib import Path

import pytest

from pipeline.config import OldEncoder, RetentionConfig
from pipeline.encoders.checkpoints import checkpoints
from pipeline.errors import CorruptDataError
from pipeline.retention.prune import prune
from pipeline.storage.leases import acquire_pins
from pipeline.storage.object_store import ObjectStore, open_store
from pipeline.storage.tombstones import Tombstones, read_history
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest
from tests.unit.encoders.samples import checkpoint
from tests.unit.triplets.samples import manifest_of, publish, triplets

NO_GRACE = RetentionConfig(keep_generations=2, keep_checkpoints=2, grace_s=0.0)
A_DAY = NO_GRACE.model_copy(update={"grace_s": 86_400.0})
LOSSES = b"of the steps"


def generation(workspace: Workspace, number: int, step: int) -> GenerationManifest:
    dataset = generations(workspace)
    transaction = dataset.begin(number)
    transaction.add_part("triplets", "triplets-00000.parquet", bytes(1000), 1)
    manifest = manifest_of(transaction, 1, step)
    changes = {"parent": number - 1 if number else None, "embeddings_key": f"{number:032x}"}
    return transaction.commit(manifest.model_copy(update=changes))[0]


@pytest.fixture
def workspace(store: ObjectStore) -> Workspace:
    """A run of six rounds: checkpoints 0, 10 … 60; generation n was mined from checkpoint 10 n and led to the next."""
    workspace = Workspace(store, "main")
    checkpoint(workspace, 0)
    for number in range(6):
        generation(workspace, number, 10 * number)
        store.put(f"embeddings/{number:032x}/000000.parquet", b"vectors")
        checkpoint(workspace, 10 * (number + 1), generation=number, steps=LOSSES)
    return workspace


def numbers(workspace: Workspace) -> tuple[list[int], list[int]]:
    return checkpoints(workspace).numbers(), generations(workspace).numbers()


def parts_of(workspace: Workspace, dataset: str) -> set[int]:
    prefix = f"runs/{workspace.run}/{dataset}/data/"
    return {int(key.removeprefix(prefix).partition("-")[0]) for key in workspace.store.list(prefix)}


def test_the_newest_versions_are_live_with_what_they_were_made_from(workspace: Workspace) -> None:
    prune(workspace, A_DAY)
    # 60 and 50 are the newest, 0 the first, and the newest generations, 4 and 5, were mined from 40 and 50.
    # Of 4 and 5, the one before is 3.
    assert numbers(workspace) == ([0, 40, 50, 60], [3, 4, 5])


def test_parts_are_deleted_a_grace_period_after_their_manifest(workspace: Workspace) -> None:
    first = prune(workspace, A_DAY)
    assert parts_of(workspace, "generations") == {0, 1, 2, 3, 4, 5}
    assert (first.freed_bytes, first.later_bytes > 3000) == (0, True)
    assert prune(workspace, A_DAY).report()["removed"] == [], "the grace period is not over"
    second = prune(workspace, NO_GRACE)
    assert parts_of(workspace, "generations") == {3, 4, 5}
    assert second.freed_bytes >= 3000
    assert prune(workspace, NO_GRACE).report() == {
        "retired": [], "removed": [], "num_unfinished": 0, "freed_bytes": 0, "later_bytes": 0,
    }, "there is nothing left to do"  # fmt: skip


def test_the_history_of_pruned_checkpoints_stays_without_their_weights(workspace: Workspace) -> None:
    prune(workspace, NO_GRACE)
    prune(workspace, NO_GRACE)
    dataset = checkpoints(workspace)
    assert [manifest.step for manifest in read_history(dataset)] == [0, 10, 20, 30, 40, 50, 60]
    old = Tombstones(dataset).read(10)
    assert dataset.read_part(old.parts_of("steps")[0]) == LOSSES
    assert not workspace.store.exists(old.parts_of("encoder")[0].key)


def test_all_parts_of_live_versions_can_be_read(workspace: Workspace) -> None:
    prune(workspace, NO_GRACE)
    prune(workspace, NO_GRACE)
    for dataset in (checkpoints(workspace), generations(workspace)):
        for number in dataset.numbers():
            for part in dataset.read(number).parts:
                dataset.read_part(part)


def test_embeddings_are_live_if_a_live_generation_was_mined_from_them(workspace: Workspace) -> None:
    prune(workspace, A_DAY)
    assert len(workspace.store.list("embeddings")) == 6, "they may be those of a refresh that goes on"
    prune(workspace, NO_GRACE)
    assert workspace.store.list("embeddings") == [f"embeddings/{number:032x}/000000.parquet" for number in (3, 4, 5)]


def test_what_a_lease_pins_is_live_until_the_lease_ends(workspace: Workspace) -> None:
    pins = (
        generations(workspace).manifest_key(0),
        checkpoints(workspace).manifest_key(20),
        f"embeddings/{1:032x}/",
    )
    with acquire_pins(workspace.store, "somebody", *pins).renewing():
        for _ in range(3):
            prune(workspace, NO_GRACE)
        assert numbers(workspace) == ([0, 20, 40, 50, 60], [0, 1, 3, 4, 5]), "1 led to 20"
        assert parts_of(workspace, "generations") == {0, 1, 3, 4, 5}
        assert f"embeddings/{1:032x}/000000.parquet" in workspace.store.list("embeddings")
    for _ in range(2):
        prune(workspace, NO_GRACE)
    assert numbers(workspace) == ([0, 40, 50, 60], [3, 4, 5])


def test_parts_of_a_version_with_a_tombstone_stay_while_a_lease_pins_it(workspace: Workspace) -> None:
    """A reader may have pinned it after the leases were listed, and before its manifest was gone."""
    manifest = generations(workspace).read(0)
    prune(workspace, NO_GRACE)
    with acquire_pins(workspace.store, "late", generations(workspace).manifest_key(0)).renewing():
        prune(workspace, NO_GRACE)
        assert generations(workspace).read_part(manifest.parts[0]) == bytes(1000)
    prune(workspace, NO_GRACE)
    assert 0 not in parts_of(workspace, "generations")


def test_parts_without_a_manifest_are_deleted_after_the_grace_period_unless_pinned(workspace: Workspace) -> None:
    dataset = generations(workspace)
    dead, alive = dataset.begin(6), dataset.begin(6)
    for transaction in (dead, alive):
        transaction.add_part("triplets", "part", b"x", 1)
    assert prune(workspace, A_DAY).freed_bytes == 0
    with acquire_pins(workspace.store, "a refresh", f"{dataset.data_folder(6, alive.writer)}/").renewing():
        prune(workspace, NO_GRACE)
        assert workspace.store.list(dataset.data_folder(6, dead.writer)) == []
        assert alive.commit(manifest_of(alive, 1))[1]
    prune(workspace, NO_GRACE)
    assert dataset.read_part(dataset.read(6).parts[0]) == b"x"


def test_of_two_transactions_on_one_number_only_parts_of_the_loser_are_deleted(workspace: Workspace) -> None:
    dataset = generations(workspace)
    loser = dataset.begin(5)
    loser.add_part("triplets", "part", b"x", 1)
    prune(workspace, NO_GRACE)
    assert workspace.store.list(dataset.data_folder(5, loser.writer)) == []
    assert dataset.read_part(dataset.read(5).parts[0]) == bytes(1000)


def test_a_dry_run_reports_what_a_prune_would_do_and_changes_nothing(workspace: Workspace) -> None:
    before = workspace.store.list("")
    promised = prune(workspace, NO_GRACE, dry_run=True).report()
    assert workspace.store.list("") == before
    assert promised == prune(workspace, NO_GRACE).report()
    assert [version["number"] for version in promised["retired"]] == [10, 20, 30, 0, 1, 2]


def test_every_run_is_pruned_and_what_another_run_needs_is_live(workspace: Workspace) -> None:
    other = Workspace(workspace.store, "other")
    checkpoint(other, 0, harmonic=OldEncoder(run="main", step=20, weights_digest="w" * 64))
    for step in (10, 20, 30):
        checkpoint(other, step)
    prune(workspace, A_DAY)
    assert numbers(other)[0] == [0, 20, 30]
    assert numbers(workspace)[0] == [0, 20, 40, 50, 60], "the other run is trained to be comparable with 20"


def test_objects_outside_of_all_datasets_are_left_alone(workspace: Workspace) -> None:
    others = ["notes.txt", "runs/main/report.html", "runs/main/evaluation/000000010/scores.json", "runs/main/data/x"]
    for key in others:
        workspace.store.put(key, b"")
    for _ in range(2):
        prune(workspace, NO_GRACE)
    assert set(others) <= set(workspace.store.list(""))


def test_a_manifest_that_cannot_be_read_stops_a_prune_before_it_does_anything(workspace: Workspace) -> None:
    workspace.store.put(generations(workspace).manifest_key(3), b"{}")
    before = workspace.store.list("")
    with pytest.raises(CorruptDataError, match=r"generations/manifests/000000003\.json"):
        prune(workspace, NO_GRACE)
    assert workspace.store.list("") == before


def test_leftovers_of_killed_jobs_are_deleted_once_they_are_old(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    publish(tmp_path, [triplets(1)], 10)
    for key in (".probe/create-1", "leases/reader-1.json", ".probe/new"):
        store.put(key, b"{}")
    for name in (".probe/create-1", "leases/reader-1.json"):
        os.utime(tmp_path / name, (1.0, 1.0))
    prune(Workspace(store, "main"), A_DAY)
    assert store.list(".probe") + store.list("leases") == [".probe/new"]


def test_a_tombstone_that_another_prune_writes_meanwhile_has_its_grace_period(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The objects are listed, then another prune writes tombstones, then leases and manifests are read."""
    parts = parts_of(workspace, "generations")
    stale, entries = workspace.store.entries(""), type(workspace.store).entries
    prune(workspace, NO_GRACE)
    before = numbers(workspace)
    monkeypatch.setattr(type(workspace.store), "entries", lambda *args: stale if args[1] == "" else entries(*args))
    prune(workspace, NO_GRACE)
    assert parts_of(workspace, "generations") == parts == {0, 1, 2, 3, 4, 5}
    assert numbers(workspace) == before


def test_weights_of_pruned_checkpoints_are_deleted_while_the_run_is_trained(workspace: Workspace) -> None:
    prune(workspace, NO_GRACE)
    with acquire_pins(workspace.store, "a worker that trains", "corpus/manifests/000000000.json").renewing():
        checkpoint(workspace, 70)
        assert prune(workspace, NO_GRACE).freed_bytes > 0
        old = Tombstones(checkpoints(workspace)).read(10)
        assert not workspace.store.exists(old.parts_of("encoder")[0].key)
