import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.corpus import writer as writer_module
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.corpus.relabel import Changes, chain_of, find_changes, relabel
from pipeline.corpus.schema import CorpusManifest, corpora
from pipeline.corpus.split import Split
from pipeline.errors import InputError
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.memory import peaks
from tests.unit.corpus.samples import (
    faces,
    folder_config,
    overtake,
    parquet_config,
    png,
    quarantined,
    run_prepare,
    write_folder,
)

SEED, CONFIG = 5, "d" * 64


def change(workspace: Workspace, wanted: Mapping[int, str]) -> tuple[Changes, CorpusManifest, bool]:
    corpus = Corpus.open(workspace)
    changes = find_changes(corpus, wanted)
    return changes, *relabel(workspace, corpus, changes, SEED, CONFIG)


def contents(workspace: Workspace) -> dict[str, str]:
    """SHA-256 of every object of the corpora, by key."""
    store = workspace.store
    return {key: hashlib.sha256(store.get(key)).hexdigest() for key in store.list(workspace.corpus_prefix)}


def rows(corpus: Corpus) -> list[dict[str, object]]:
    return [row for part in range(corpus.num_parts) for row in corpus.read_part(part).to_pylist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "faces", faces() | {"person_1/notes.txt": b"x", "person_2/broken.png": b"x"})


@pytest.fixture
def prepared(folder: Path, workspace: Workspace) -> Corpus:
    """Examples 0 to 11, three of each of person_0 to person_3, in parts of five; two entries in quarantine."""
    run_prepare(folder_config(folder, examples_per_part=5), workspace)
    return Corpus.open(workspace)


def test_only_the_labels_asked_for_change(prepared: Corpus, workspace: Workspace) -> None:
    changes, manifest, published = change(workspace, {1: "person_3", 7: "person_0"})
    assert published and changes.label_of == {1: "person_3", 7: "person_0"}
    relabelled = Corpus.open(workspace)
    assert relabelled.manifest == manifest
    expected = rows(prepared)
    expected[1]["label"], expected[7]["label"] = "person_3", "person_0"
    assert rows(relabelled) == expected
    assert [relabelled.label_names[code] for code in relabelled.labels] == [row["label"] for row in expected]


def test_the_manifest_keeps_the_request_and_says_what_changed(prepared: Corpus, workspace: Workspace) -> None:
    old = prepared.manifest
    _, new, _ = change(workspace, {1: "person_3", 7: "person_0"})
    assert (new.number, new.parent, new.num_relabelled) == (1, 0, 2)
    assert new.source == f"{old.source} with 2 labels changed"
    assert (new.seed, new.config_digest) == (SEED, CONFIG)
    kept = ("source_key", "num_examples", "num_labels", "payload", "vector_dim", "test_fraction", "test_labels")
    assert all(getattr(new, name) == getattr(old, name) for name in kept)
    assert new.quarantined == old.quarantined == {"stray_file": 1, "undecodable": 1}
    assert quarantined(workspace, 0) == quarantined(workspace, 1)


def test_in_every_store_the_old_corpus_stays_byte_for_byte(folder: Path, store: ObjectStore) -> None:
    workspace = Workspace(store, "main")
    run_prepare(folder_config(folder, examples_per_part=5), workspace)
    before = contents(workspace)
    _, manifest, published = change(workspace, {1: "person_3"})
    after = contents(workspace)
    assert published and manifest.number == 1 and len(after) > len(before) > 0
    assert {key: after[key] for key in before} == before
    assert [row["label"] for row in rows(Corpus.open(workspace))][:3] == ["person_0", "person_3", "person_0"]


def test_parts_are_cut_as_before_and_those_without_a_change_hold_the_same_bytes(
    prepared: Corpus, workspace: Workspace
) -> None:
    change(workspace, {7: "person_0"})
    relabelled = Corpus.open(workspace)
    assert [relabelled.part_ids(part) for part in range(3)] == [prepared.part_ids(part) for part in range(3)]
    equal = [relabelled.part_sha256(part) == prepared.part_sha256(part) for part in range(3)]
    assert equal == [True, False, True]


def test_parts_that_were_closed_early_for_their_size_are_cut_as_before(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_PART_BYTES", 500)
    run_prepare(folder_config(folder), workspace)
    before = Corpus.open(workspace)
    assert before.num_parts > 2
    monkeypatch.undo()
    change(workspace, {7: "person_0"})
    after = Corpus.open(workspace)
    assert [len(after.part_ids(part)) for part in range(after.num_parts)] == [
        len(before.part_ids(part)) for part in range(before.num_parts)
    ]


def test_fingerprint_is_that_of_a_corpus_prepared_with_the_new_labels(
    prepared: Corpus, workspace: Workspace, tmp_path: Path
) -> None:
    # A folder cannot hold these labels in this order: the corpus's own parts, relabelled, are the independent source.
    _, manifest, _ = change(workspace, {0: "person_9", 11: "person_1"})
    stored = tmp_path / "workspace" / Path(manifest.parts[0].key).parent
    again, _ = run_prepare(parquet_config(stored), Workspace.open(str(tmp_path / "other"), "main"))
    assert again.fingerprint == manifest.fingerprint != prepared.fingerprint


def test_prepare_with_the_same_config_finds_nothing_to_do(prepared: Corpus, folder: Path, workspace: Workspace) -> None:
    _, manifest, _ = change(workspace, {1: "person_3"})
    assert run_prepare(folder_config(folder, examples_per_part=5), workspace) == (manifest, False)


@pytest.mark.parametrize(("options", "again"), [({"examples_per_part": 5}, True), ({"test_fraction": 0.01}, False)])
def test_reading_the_source_again_does_not_drop_corrections_in_silence(
    prepared: Corpus, folder: Path, workspace: Workspace, options: dict[str, float], again: bool
) -> None:
    change(workspace, {1: "person_3", 2: "person_3"})
    before = contents(workspace)
    with pytest.raises(InputError) as caught:
        run_prepare(folder_config(folder, **options), workspace, again=again)
    assert str(caught.value) == (
        "corpus 1 was corrected since its source was read (labels changed: 2), and reading a source now would bring "
        "the old labels back: give --drop-corrections if that is wanted; a list of corrections can be applied again "
        "afterwards"
    )
    assert contents(workspace) == before


def test_corrections_are_dropped_where_that_is_wanted(prepared: Corpus, folder: Path, workspace: Workspace) -> None:
    change(workspace, {1: "person_3"})
    config = folder_config(folder, examples_per_part=5)
    manifest, published = prepare(config, workspace, 7, CONFIG, again=True, drop_corrections=True)
    assert published and (manifest.number, manifest.parent, manifest.num_relabelled) == (2, 1, 0)
    assert manifest.fingerprint == prepared.fingerprint


def test_changes_add_up_along_the_chain(prepared: Corpus, workspace: Workspace) -> None:
    change(workspace, {1: "person_3"})
    _, second, _ = change(workspace, {7: "person_0", 8: "person_0"})
    assert (second.number, second.parent, second.num_relabelled) == (2, 1, 3)
    assert second.source == f"{prepared.manifest.source} with 3 labels changed"
    assert corpora(workspace).read(1).source == f"{prepared.manifest.source} with 1 label changed"
    assert [manifest.number for manifest in chain_of(workspace, second)] == [2, 1, 0]


def test_a_chain_ends_where_the_source_was_read(prepared: Corpus, folder: Path, workspace: Workspace) -> None:
    (folder / "person_0" / "new.png").write_bytes(png(999))
    run_prepare(folder_config(folder, examples_per_part=5), workspace, again=True)
    _, newest, _ = change(workspace, {1: "person_3"})
    assert [manifest.number for manifest in chain_of(workspace, newest)] == [2, 1]


def test_a_chain_whose_beginning_was_removed_is_as_long_as_it_is(prepared: Corpus, workspace: Workspace) -> None:
    _, newest, _ = change(workspace, {1: "person_3"})
    workspace.store.delete(corpora(workspace).manifest_key(0))
    assert chain_of(workspace, newest) == [newest]


def test_labels_that_the_examples_have_already_change_nothing(prepared: Corpus, workspace: Workspace) -> None:
    before = contents(workspace)
    changes, manifest, published = change(workspace, {1: "person_0", 2: "person_0"})
    assert (changes.label_of, changes.num_unchanged) == ({}, 2)
    assert (manifest, published) == (prepared.manifest, False)
    assert contents(workspace) == before


def test_moves_between_training_and_test_labels_are_counted(folder: Path, workspace: Workspace) -> None:
    run_prepare(folder_config(folder, test_fraction=0.5), workspace)
    corpus = Corpus.open(workspace)
    test = [name for name in corpus.label_names if Split(0.5).is_test(name)]
    training = [name for name in corpus.label_names if name not in test]
    assert len(test) >= 1 and len(training) >= 2
    of_test, of_training = (int(np.flatnonzero(corpus.is_test == side)[0]) for side in (True, False))
    other = next(name for name in training if corpus.labels[of_training] != corpus.label_names.index(name))
    moved = find_changes(corpus, {of_training: test[0]})
    assert (moved.num_to_test, moved.num_to_training) == (1, 0)
    moved = find_changes(corpus, {of_test: training[0]})
    assert (moved.num_to_test, moved.num_to_training) == (0, 1)
    moved = find_changes(corpus, {of_training: other})
    assert (moved.num_to_test, moved.num_to_training) == (0, 0)


def test_labels_that_are_new_to_the_corpus_are_named(prepared: Corpus, workspace: Workspace) -> None:
    changes, manifest, _ = change(workspace, {1: "zoe", 2: "adam", 3: "adam", 4: "person_0"})
    assert changes.new_labels == ("adam", "zoe")
    assert manifest.num_labels == 6


@pytest.mark.parametrize("example_id", [-1, 12])
def test_an_unknown_example_is_refused(prepared: Corpus, example_id: int) -> None:
    with pytest.raises(InputError) as caught:
        find_changes(prepared, {0: "person_1", example_id: "person_1"})
    assert str(caught.value) == f"corpus 0 has no example {example_id}: its ids are 0 to 11"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (dict.fromkeys(range(12), "one"), "has only one label, 'one'"),
        ({i: f"own {i}" for i in range(12)}, "has 12 labels with one example each"),
    ],
)
def test_labels_that_make_no_triplet_are_refused_and_leave_nothing(
    prepared: Corpus, workspace: Workspace, wanted: dict[int, str], message: str
) -> None:
    before = contents(workspace)
    with pytest.raises(InputError, match=f"with 12 labels changed {message}"):
        change(workspace, wanted)
    assert contents(workspace) == before


def test_a_corpus_that_is_not_the_newest_is_not_relabelled(
    prepared: Corpus, folder: Path, workspace: Workspace
) -> None:
    change(workspace, {1: "person_3"})
    before = contents(workspace)
    with pytest.raises(InputError) as caught:
        relabel(workspace, prepared, find_changes(prepared, {2: "person_3"}), SEED, CONFIG)
    assert str(caught.value) == (
        "a corpus newer than 0 was published meanwhile, so no label was changed: run the same command again"
    )
    assert contents(workspace) == before


def test_lost_race_is_an_error_and_keeps_only_the_winners_parts(
    prepared: Corpus, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = overtake(monkeypatch, lambda: change(workspace, {2: "person_2"})[1])
    with pytest.raises(InputError, match="newer than 0 was published meanwhile, so no label was changed"):
        change(workspace, {1: "person_3"})
    assert corpora(workspace).latest() == winner[0]
    named = {part.key for manifest in (prepared.manifest, winner[0]) for part in manifest.parts}
    assert {key for key in contents(workspace) if "/data/" in key} == named


@given(st.dictionaries(st.integers(0, 11), st.sampled_from(["person_0", "person_1", "zoe", "å/=1\n"]), min_size=1))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changing_labels_back_gives_the_first_fingerprint(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[int, str]
) -> None:
    place = tmp_path_factory.mktemp("back")
    workspace = Workspace.open(str(place / "workspace"), "main")
    run_prepare(folder_config(write_folder(place / "faces", faces()), examples_per_part=5), workspace)
    first = Corpus.open(workspace)
    old = {example_id: first.label_names[first.labels[example_id]] for example_id in wanted}
    try:
        _, there, _ = change(workspace, wanted)
    except InputError:  # no triplet is left
        return
    _, back, _ = change(workspace, old)
    assert (back.fingerprint == there.fingerprint) == (wanted == old)
    assert back.fingerprint == first.fingerprint


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    few, many = peaks("relabel", tmp_path)
    assert many < few + 300_000  # the 360 images more are some 10 MB
