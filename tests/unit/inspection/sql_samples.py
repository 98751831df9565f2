"""A finished run to ask with SQL, and what the answers must be."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.corpus.reader import Corpus
from pipeline.inspection.query.sql import SqlSession
from pipeline.inspection.query.views import open_generations
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.unit.inspection.report_samples import LABELS, PER_LABEL, finished_run

NUM_EXAMPLES = len(LABELS) * PER_LABEL


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Read only; in a folder whose name is a pattern, a quote and a space to DuckDB."""
    return finished_run(tmp_path_factory.mktemp("run") / "it's [a] *?")


def session(workspace: Workspace, number: int | None = None, every: bool = False) -> SqlSession:
    return SqlSession(workspace, lambda: open_generations(workspace, number, every))


def answer(workspace: Workspace, statement: str, number: int | None = None, every: bool = False) -> list[Any]:
    with session(workspace, number, every) as opened:
        return opened.select(statement).fetch()


def digests(workspace: Workspace) -> dict[str, str]:
    store = workspace.store
    return {key: hashlib.sha256(store.get(key)).hexdigest() for key in store.list("")}


def spoil(workspace: Workspace, how: str) -> None:
    part = generations(workspace).read(2).parts_of("triplets")[1]
    data = workspace.store.get(part.key)
    if how == "missing":
        workspace.store.delete(part.key)
    elif how == "truncated":
        workspace.store.put(part.key, data[:-1])
    else:
        workspace.store.put(part.key, bytes([data[0] ^ 1]) + data[1:])


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's temporary folder, for the length of a test; must end empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def shards(workspace: Workspace, number: int) -> pa.Table:
    dataset = generations(workspace)
    generation = Generation(dataset, dataset.read(number))
    return pa.concat_tables(generation.shard(index) for index in range(generation.num_shards))


def expected_triplets(workspace: Workspace, number: int) -> list[tuple[Any, ...]]:
    corpus, margin = Corpus.open(workspace), generations(workspace).read(number).mining.band.margin
    rows = []
    for row in shards(workspace, number).to_pylist():
        d_ap, d_an = row["d_ap"], row["d_an"]
        kind = "hard" if d_an <= d_ap else "easy" if d_an >= d_ap + margin else "semi_hard"
        names = [corpus.label_names[corpus.labels[row[role]]] for role in ("anchor", "negative")]
        rows.append((number, *row.values(), d_an - d_ap, kind, *names))
    return sorted(rows)
