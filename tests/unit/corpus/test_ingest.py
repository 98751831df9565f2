from pathlib import Path

import numpy as np
import pytest

from pipeline.corpus.reader import Corpus
from pipeline.corpus.split import Split
from pipeline.errors import InputError
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
    write_tar,
    write_vectors,
)


def objects(workspace: Workspace) -> list[str]:
    return workspace.store.list(workspace.corpus_prefix)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "faces", faces())


def test_first_prepare_publishes_corpus_zero(folder: Path, workspace: Workspace) -> None:
    (folder / "person_0" / ".DS_Store").write_bytes(b"x")
    config = folder_config(folder, examples_per_part=5)
    manifest, published = run_prepare(config, workspace)
    assert published
    assert (manifest.number, manifest.parent, manifest.seed) == (0, None, 7)
    assert (manifest.num_examples, manifest.num_labels) == (12, 4)
    assert (manifest.payload, manifest.vector_dim) == ("image", None)
    assert manifest.source_key == config.digest()
    assert manifest.quarantined == {"stray_file": 1}
    assert [part.num_rows for part in manifest.parts_of("examples")] == [5, 5, 2]
    assert [(row["path"], row["reason"]) for row in quarantined(workspace)] == [("person_0/.DS_Store", "stray_file")]


def test_same_request_is_answered_without_reading_the_source(folder: Path, workspace: Workspace) -> None:
    first, _ = run_prepare(folder_config(folder), workspace)
    (folder / "person_0" / "new.png").write_bytes(png(999))
    before = objects(workspace)
    assert run_prepare(folder_config(folder), workspace) == (first, False)
    assert objects(workspace) == before


def test_again_publishes_nothing_while_nothing_changed(folder: Path, workspace: Workspace) -> None:
    first, _ = run_prepare(folder_config(folder), workspace)
    before = objects(workspace)
    assert run_prepare(folder_config(folder), workspace, again=True) == (first, False)
    assert objects(workspace) == before


def test_again_publishes_the_next_number_when_the_source_changed(folder: Path, workspace: Workspace) -> None:
    first, _ = run_prepare(folder_config(folder), workspace)
    (folder / "person_0" / "new.png").write_bytes(png(999))
    second, published = run_prepare(folder_config(folder), workspace, again=True)
    assert published
    assert (second.number, second.parent, second.num_examples) == (1, 0, 13)
    assert second.fingerprint != first.fingerprint


def test_another_split_of_the_same_examples_is_published(folder: Path, workspace: Workspace) -> None:
    first, _ = run_prepare(folder_config(folder), workspace)
    second, published = run_prepare(folder_config(folder, test_fraction=0.01), workspace)
    assert published
    assert second.fingerprint != first.fingerprint, "what was mined under one split is not taken for another"
    assert second.test_fraction == 0.01


def test_fingerprint_does_not_depend_on_part_size_or_container(tmp_path: Path, folder: Path) -> None:
    archive = write_tar(tmp_path / "faces.tar", faces())
    configs = [
        folder_config(folder, examples_per_part=1),
        folder_config(folder),
        folder_config(archive, examples_per_part=5),
    ]
    workspaces = [Workspace.open(str(tmp_path / f"w{i}"), "main") for i in range(3)]
    pairs = zip(configs, workspaces, strict=True)
    assert len({run_prepare(config, workspace)[0].fingerprint for config, workspace in pairs}) == 1


def test_a_corpus_is_a_source_of_the_same_corpus(folder: Path, tmp_path: Path, workspace: Workspace) -> None:
    first, _ = run_prepare(folder_config(folder, examples_per_part=5), workspace)
    stored = tmp_path / "workspace" / Path(first.parts[0].key).parent
    again, _ = run_prepare(parquet_config(stored), Workspace.open(str(tmp_path / "second"), "main"))
    assert again.fingerprint == first.fingerprint


def test_vectors_become_a_corpus(tmp_path: Path, workspace: Workspace) -> None:
    vectors = np.random.default_rng(0).standard_normal((6, 4), dtype=np.float32)
    file = write_vectors(tmp_path / "v.parquet", vectors.tolist(), ["a", "a", "b", "b", "c", "c"])
    manifest, _ = run_prepare(parquet_config(file), workspace)
    assert (manifest.payload, manifest.vector_dim, manifest.num_examples) == ("vector", 4, 6)
    stored = Corpus.open(workspace).read_part(0)
    np.testing.assert_array_equal(stored.column("vector").to_pylist(), vectors)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no usable image: no entry was rejected"),
        (
            {"a/x.txt": b"x", "a/y.png": b"x", "b/y.png": b"x"},
            r"3 entries were rejected \(undecodable: 2, stray",
        ),
        ({"a/x.png": png(), "a/y.png": png(1)}, "only one label, 'a'"),
        ({"a/x.png": png(), "b/y.png": png(1)}, "2 labels with one example each"),
    ],
    ids=["empty", "no image", "one label", "no pair"],
)
def test_source_without_a_triplet_is_refused_and_leaves_nothing(
    tmp_path: Path, workspace: Workspace, files: dict[str, bytes], message: str
) -> None:
    (tmp_path / "faces").mkdir()
    with pytest.raises(InputError, match=message) as caught:
        run_prepare(folder_config(write_folder(tmp_path / "faces", files)), workspace)
    assert caught.value.exit_code == 2
    assert objects(workspace) == []


def test_test_fraction_that_leaves_no_training_pair_is_refused_by_name(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"test_fraction 1\.0 keeps 4 of 4"):
        run_prepare(folder_config(folder, test_fraction=1.0), workspace)
    assert objects(workspace) == []


def test_split_without_a_test_label_is_published_with_a_warning(
    folder: Path, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    fraction = 1e-6
    assert not any(Split(fraction).is_test(f"person_{i}") for i in range(4))
    _, published = run_prepare(folder_config(folder, test_fraction=fraction), workspace)
    assert published
    assert "warning: corpus.test_fraction" in capfd.readouterr().err


def test_failure_half_way_leaves_nothing(tmp_path: Path, workspace: Workspace) -> None:
    archive = write_tar(tmp_path / "faces.tar", faces(6, 6))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 3])
    with pytest.raises(InputError, match="cannot be read to its end"):
        run_prepare(folder_config(archive, examples_per_part=2), workspace)
    assert objects(workspace) == []


def test_lost_race_returns_the_winner_and_keeps_only_its_parts(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = overtake(monkeypatch, lambda: run_prepare(folder_config(folder, examples_per_part=3), workspace)[0])
    committed, ours = run_prepare(folder_config(folder), workspace)
    assert ([committed], ours) == (winner, False)
    data = [key for key in objects(workspace) if "/data/" in key]
    assert sorted(data) == sorted(part.key for part in committed.parts)


def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    few, many = peaks("ingest", tmp_path)
    assert many < few + 300_000  # the 360 images more are 3.6 MB
