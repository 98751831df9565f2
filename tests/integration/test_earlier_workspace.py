"""A workspace that an earlier Motherlode wrote (``tests/golden/workspace``) is read, mined and trained on as it was.

It holds 16 characters of 16 × 16 pixels, the checkpoints of steps 0, 2 and 4, and the generations mined from the first
two of them with their embeddings.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import checkpoints, load_encoder
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.support.jobs import batch, glyphs, rounds, succeed

GOLDEN = Path(__file__).parents[1] / "golden" / "workspace"
FLAGS = (
    *glyphs(16, 16),
    *batch(4, 3),
    *rounds(4, 2),
    "--corpus.examples_per_part=60",
    "--encoder.embedding_dim=16",
    '--encoder.options={"norm": "group", "base_width": 8}',
    "--training.optimiser.name=sgd",
    "--training.optimiser.schedule=constant",
    "--cluster.anchors_per_block=50",
    "--cluster.num_actors=1",
)
TRIPLETS = {
    0: "3d3a643cc2f31dd5e40711764e4e55e1fdcfa31964b905b4f0323710950eb91c",
    1: "1ed2c3f56e422d5555eba4738d5de12a216163429c7c51356deae80b6afb9e82",
}
"""SHA-256 over the columns of each generation, which no version of Parquet's writer changes."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A copy."""
    shutil.copytree(GOLDEN, tmp_path / "workspace")
    return Workspace.open(str(tmp_path / "workspace"), "main")


def unpublish(workspace: Workspace, key: str) -> None:
    """As if it had not been published yet."""
    (Path(workspace.store.uri) / key).unlink()


def digest(generation: Generation) -> str:
    found = hashlib.sha256()
    for shard in map(generation.shard, range(generation.num_shards)):
        for name in ("anchor", "positive", "negative", "d_ap", "d_an"):
            found.update(np.ascontiguousarray(shard[name].to_numpy()).tobytes())
    return found.hexdigest()


def test_all_of_it_is_read_and_nothing_is_left_to_do(workspace: Workspace) -> None:
    published = generations(workspace)
    assert {number: digest(Generation(published, published.read(number))) for number in (0, 1)} == TRIPLETS
    assert Corpus.open(workspace).num_examples == 190
    flags = (*FLAGS, "--workspace", workspace.store.uri)
    unpublish(workspace, checkpoints(workspace).manifest_key(4))
    assert "nothing to do" in succeed("mine", *flags).words, "the keys of a refresh and of embeddings are the same"


def test_the_same_bits_are_mined_from_it(workspace: Workspace) -> None:
    published = generations(workspace)
    unpublish(workspace, checkpoints(workspace).manifest_key(4))
    unpublish(workspace, published.manifest_key(1))
    finished = succeed("mine", *FLAGS, "--workspace", workspace.store.uri)
    assert finished.report["generation"]["number"] == 1
    assert "embed" not in finished.words, "its embeddings are found by their key"
    assert digest(Generation(published, published.read(1))) == TRIPLETS[1]


def test_its_training_is_resumed_to_the_same_weights(workspace: Workspace) -> None:
    """But for the order in which another processor adds."""
    published = checkpoints(workspace)
    expected = published.read(4)
    weights = load_encoder(published, expected, expected.encoder, expected.transform, "cpu").state_dict()
    unpublish(workspace, published.manifest_key(4))
    succeed("train", *FLAGS, "--workspace", workspace.store.uri)
    found = load_encoder(published, published.read(4), expected.encoder, expected.transform, "cpu").state_dict()
    for name, weight in weights.items():
        np.testing.assert_allclose(found[name].numpy(), weight.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    assert published.read(4).writer != expected.writer
