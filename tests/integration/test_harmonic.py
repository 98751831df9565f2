"""A new encoder that is trained to be comparable with an old one, through the command line."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.config import EmbedConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.corpus.transform import Transform
from pipeline.embeddings.encode import encode
from pipeline.encoders.checkpoints import checkpoints, load_encoder
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.support.jobs import TINY, rounds, run, succeed

STEPS = 60
LONGER = (*TINY, *rounds(STEPS, STEPS // 2), "--training.batch.num_labels=16")
WIDER = ('--encoder.options={"base_width": 40}', "--seed=1")


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the fixture runs four jobs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an old run, a harmonic one that is wider, and one that is as wide but knows of no other."""
    folder = tmp_path_factory.mktemp("harmonic")
    succeed("prepare", *LONGER, "--workspace", folder)
    succeed("train", *LONGER, "--workspace", folder, "--run=old", "--training.source=online")
    succeed("loop", *LONGER, *WIDER, "--workspace", folder, "--run=new", "--harmonic.checkpoint=old")
    succeed("train", *LONGER, *WIDER, "--workspace", folder, "--run=plain", "--training.source=online")
    return folder


def auc(folder: Path, one: str, other: str) -> float:
    """How well vectors of one run, beside those of another, tell test labels apart: area under the ROC."""
    workspace = Workspace.open(str(folder), one)
    corpus, vectors = Corpus.open(workspace), []
    cache, ids = ExampleCache(corpus, folder / "cache"), np.flatnonzero(corpus.is_test)
    for run_name in (one, other):
        dataset = checkpoints(Workspace(workspace.store, run_name))
        manifest = dataset.read(STEPS)
        encoder = load_encoder(dataset, manifest, manifest.encoder, manifest.transform, "cpu")
        images = [cache.content(int(example)) for example in ids]
        vectors.append(encode(encoder, images, Transform(manifest.transform), EmbedConfig(), "cpu"))
    similarity: npt.NDArray[np.float32] = vectors[0] @ vectors[1].T
    labels, apart = corpus.labels[ids], ~np.eye(len(ids), dtype=bool)
    return float(roc_auc_score((labels[:, None] == labels)[apart], similarity[apart]))


def test_new_and_old_vectors_can_be_compared_and_those_of_strangers_cannot(trained: Path) -> None:
    assert auc(trained, "old", "old") > 0.85 and auc(trained, "new", "new") > 0.85
    assert auc(trained, "new", "old") > 0.8
    assert 0.3 < auc(trained, "plain", "old") < 0.7


def test_checkpoints_and_generations_say_what_they_are_comparable_with(trained: Path) -> None:
    workspace = Workspace.open(str(trained), "new")
    old = checkpoints(Workspace(workspace.store, "old")).read(STEPS)
    for published in (checkpoints(workspace), generations(workspace)):
        for number in published.numbers():
            harmonic = published.read(number).harmonic
            assert harmonic is not None and str(harmonic) == f"old:{STEPS}"
            assert harmonic.weights_digest == old.weights_digest
    mined = [generations(workspace).read(number) for number in generations(workspace).numbers()]
    assert [manifest.old_share for manifest in mined] == [0.5, 0.5]
    assert {manifest.agreement for manifest in mined} == {1.0}


def test_a_run_goes_on_only_as_it_began(trained: Path) -> None:
    for job, flags in {"mine": (), "train": ("--harmonic.checkpoint=old:0",)}.items():
        refused = run(job, *LONGER, *WIDER, "--workspace", trained, "--run=new", *flags)
        assert refused.code == 2 and f"began with 'old:{STEPS}'" in refused.words


def test_a_killed_run_takes_the_steps_that_it_would_have_taken(trained: Path) -> None:
    """In-batch triplets, for which the trainer has the old vectors made itself; killed after half of its steps."""
    flags = ("--workspace", trained, "--run=killed", "--harmonic.checkpoint=old", "--training.source=online")
    published = checkpoints(Workspace.open(str(trained), "killed"))
    digests = []
    for _ in range(2):
        succeed("train", *TINY, *flags, *rounds(6, 3))
        last = published.read(6)
        assert last.harmonic is not None and last.harmonic.run == "old"
        digests.append(last.weights_digest)
        (trained / published.manifest_key(6)).unlink()  # as if it had been killed before it published
    assert digests[0] == digests[1]
