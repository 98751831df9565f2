"""A disk that fills up in the middle of a job."""

from pathlib import Path

import pytest

from pipeline.corpus.reader import Corpus
from pipeline.errors import UnavailableError
from pipeline.storage.keys import TEMPORARY_PREFIX
from pipeline.storage.object_store import open_store
from pipeline.storage.workspace import Workspace
from tests.support.jobs import TINY, run, succeed
from tests.support.small_disk import fill
from tests.unit.storage.samples import manifest_of, things


def test_a_full_disk_is_a_clear_error_and_publishing_succeeds_once_there_is_room(disk: Path) -> None:
    store = open_store(str(disk / "store"))
    dataset = things(store)
    transaction = dataset.begin(0)
    transaction.add_part("rows", "first.bin", b"first", 1)
    ballast = fill(disk, 100_000)
    with pytest.raises(UnavailableError, match=r"no space left to write .*second\.bin") as caught:
        transaction.add_part("rows", "second.bin", bytes(200_000), 1)
    assert "\n" not in str(caught.value)
    assert len(store.list("")) == len(transaction.parts) == 1, "what was put before is untouched"
    assert not list(disk.rglob(f"{TEMPORARY_PREFIX}*"))
    fill(disk, 0)
    with pytest.raises(UnavailableError, match="no space left"):
        transaction.commit(manifest_of(transaction))
    assert dataset.numbers() == []
    ballast.unlink()
    committed, ours = transaction.commit(manifest_of(transaction))
    assert ours and dataset.read(0) == committed
    assert dataset.read_part(committed.parts[0]) == b"first"


def test_a_job_on_a_full_disk_publishes_nothing_and_succeeds_once_there_is_room(disk: Path) -> None:
    flags = (*TINY, f"--workspace={disk / 'workspace'}")
    ballast = fill(disk, 100_000)  # two of the corpus's five parts
    full = run("prepare", *flags)
    assert full.code == 4, full.words
    assert full.words.count("no space left to write") == 1 and "Traceback" not in full.words
    assert "examples-00002.parquet" in full.words, "it came as far as the third part"
    assert [path for path in (disk / "workspace").rglob("*") if path.is_file()] == [], "no manifest, no part, no trace"
    ballast.unlink()
    assert succeed("prepare", *flags).report["published"] is True
    workspace = Workspace.open(str(disk / "workspace"), "main")
    corpus = Corpus.open(workspace)
    assert sum(len(corpus.read_part(part)) for part in range(corpus.num_parts)) == corpus.manifest.num_examples
