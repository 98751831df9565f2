"""Who was thought dead and goes on: what such a writer finishes late is invisible, and changes nothing that stands.

A node is known to be dead only after some seconds, and a paused machine comes back: so two writers of one thing are
possible whatever leases say.
"""

from pathlib import Path

import numpy as np
import pytest

from pipeline.embeddings.parts import EmbeddingParts
from pipeline.storage.publish import Manifest, VersionedDataset
from pipeline.storage.workspace import Workspace
from tests.support.s3_server import S3Server
from tests.unit.storage.samples import manifest_of

SEED = 14


@pytest.fixture(params=["folder", "s3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    if request.param == "folder":
        return Workspace.open(str(tmp_path), "main")
    server: S3Server = request.getfixturevalue("s3_environment")
    return Workspace.open(f"s3://{server.bucket}/zombies", "main")


@pytest.mark.parametrize("kind", ["generations", "checkpoints"])
def test_a_transaction_that_ends_after_another_was_committed_is_invisible(workspace: Workspace, kind: str) -> None:
    dataset = VersionedDataset(workspace.store, f"runs/main/{kind}", Manifest)
    late = dataset.begin(3)
    late.add_part("rows", "a", b"late", 1)
    successor = dataset.begin(3)
    for name in ("a", "b"):
        successor.add_part("rows", name, b"timely", 1)
    published, ours = successor.commit(manifest_of(successor))
    assert ours
    document = workspace.store.get(dataset.manifest_key(3))
    late.add_part("rows", "b", b"late", 1)
    committed, late_won = late.commit(manifest_of(late))
    print(f"seed {SEED}: transaction {late.writer} of {kind} 3 ended after {successor.writer} was committed")
    assert not late_won and committed == published == dataset.latest()
    assert workspace.store.get(dataset.manifest_key(3)) == document
    assert [dataset.read_part(part) for part in committed.parts] == [b"timely", b"timely"]
    assert not {part.key for part in committed.parts} & {part.key for part in late.parts}
    assert dataset.numbers() == [3]


def test_an_embedding_part_that_stands_is_not_touched_by_a_late_actor(workspace: Workspace) -> None:
    parts = EmbeddingParts(workspace, "k" * 32)
    timely, late = np.random.default_rng(SEED).normal(size=(2, 5, 4)).astype(np.float32)
    parts.write(0, 10, timely, "float32")
    (key,) = workspace.store.list(workspace.embeddings_prefix(parts.key))
    stored = workspace.store.get(key)
    parts.write(0, 10, late, "float32")
    assert workspace.store.list(workspace.embeddings_prefix(parts.key)) == [key]
    assert workspace.store.get(key) == stored
    np.testing.assert_array_equal(parts.read(0, 10, 5), timely)
