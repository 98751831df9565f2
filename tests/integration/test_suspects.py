from pathlib import Path

import numpy as np

from pipeline.config import ClusterConfig, CorpusConfig, EncoderConfig, MiningConfig, RunConfig, SourceConfig
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.runtime.actor_pool import ActorPool
from pipeline.stages.embed.checkpoint import newest_checkpoint
from pipeline.stages.job import Job
from pipeline.stages.mine.refresh import refresh
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.worker import RefreshWorker
from pipeline.storage.workspace import Workspace
from pipeline.triplets.schema import GenerationManifest
from tests.support.oracle import unit_vectors
from tests.unit.corpus.samples import write_vectors
from tests.unit.inspection.suspect_samples import command

NUM_LABELS, PER_LABEL, DIM = 30, 8, 16
WRONG = {3: 9, 50: 2, 111: 29, 178: 0, 239: 14}
"""Wrong label by example id."""


def refreshed(config: RunConfig, workspace: Workspace) -> GenerationManifest:
    """Mines the newest corpus; a second refresh then has nothing to do."""
    job = Job(config, workspace, corpus := Corpus.open(workspace))
    request = RefreshRequest.resolve(job, newest_checkpoint(job))
    assert request.find_generation() is None
    with ActorPool(config.cluster, RefreshWorker, config, corpus.manifest.number) as pool:
        manifest, is_new = refresh(pool, request)
        assert is_new and refresh(pool, request) == (manifest, False)
    assert manifest.corpus_fingerprint == corpus.fingerprint
    return manifest


def test_label_errors_are_found_corrected_and_mined_anew(tmp_path: Path) -> None:
    truth = np.repeat(np.arange(NUM_LABELS, dtype=np.int32), PER_LABEL)
    vectors = unit_vectors(np.random.default_rng(0), truth, DIM, 0.3)
    labels = [f"label {WRONG.get(example, code)}" for example, code in enumerate(truth)]
    source = SourceConfig(kind="parquet", path=str(write_vectors(tmp_path / "v.parquet", vectors.tolist(), labels)))
    config = RunConfig(
        workspace=str(tmp_path / "workspace"),
        corpus=CorpusConfig(source=source, examples_per_part=100, test_fraction=0.0),
        encoder=EncoderConfig(name="identity", embedding_dim=DIM),
        mining=MiningConfig(backend="reference"),
        cluster=ClusterConfig(anchors_per_block=110, num_actors=1),
    )
    workspace = Workspace.open(config.workspace, config.run)
    prepare(config.corpus, workspace, config.seed, config.digest())
    file = tmp_path / "labels.csv"
    first = refreshed(config, workspace)
    found = command(workspace, "--csv", file, "--accept-above", "0.2").report["suspects"]
    assert {row["example_id"]: row["suggested_label"] for row in found} == {
        example: f"label {truth[example]}" for example in WRONG
    }
    assert command(workspace, "--apply", file).report["num_changed"] == len(WRONG)
    second = refreshed(config, workspace)
    assert second.number == first.number + 1 and second.checkpoint_step == first.checkpoint_step
    assert second.refresh_key != first.refresh_key and second.embeddings_key != first.embeddings_key
    assert command(workspace).report["num_suspects"] == 0
