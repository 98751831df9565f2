import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import BandConfig, ClusterConfig, EncoderConfig, MiningConfig, RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.mining.backends.native.compiled import unavailable_reason
from pipeline.runtime.actor_pool import ActorPool
from pipeline.stages.embed.checkpoint import newest_checkpoint
from pipeline.stages.job import Job
from pipeline.stages.mine.refresh import refresh
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.worker import RefreshWorker
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import GenerationManifest
from tests.support.jobs import run, run_apart, succeed, succeed_apart
from tests.support.jobs import vectors as vector_flags
from tests.support.oracle import all_distances, unit_vectors
from tests.support.s3_server import S3Server
from tests.unit.corpus.samples import write_vectors


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own vectors: not of unit length, labels of 1 to 9 examples."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 120, 500).astype(np.int32)
    lengths = rng.uniform(0.5, 3.0, size=(500, 1))
    matrix = unit_vectors(rng, labels, 16, 0.8) * lengths
    path = tmp_path_factory.mktemp("vectors") / "vectors.parquet"
    return write_vectors(path, matrix.tolist(), labels.tolist(), id=[f"doc-{i}" for i in range(500)])


def shard_bytes(workspace: Workspace) -> list[pa.Table]:
    published = generations(workspace)
    manifest = published.read(published.numbers()[-1])
    generation = Generation(published, manifest)
    return [generation.shard(index) for index in range(generation.num_shards)]


def test_vectors_are_mined_without_an_encoder_as_brute_force_would(vectors: Path, tmp_path: Path) -> None:
    flags = (*vector_flags(vectors), f"--workspace={tmp_path}", "--mining.rows_per_shard=700")
    succeed("prepare", *flags, "--corpus.examples_per_part=130")
    first = succeed("mine", *flags, "--cluster.anchors_per_block=90")
    assert first.report["published"] is True
    workspace = Workspace.open(str(tmp_path), "main")
    corpus = Corpus.open(workspace)
    parts = EmbeddingParts(workspace, first.report["generation"]["embeddings_key"])
    stored = np.concatenate(
        [parts.read(i, corpus.part_ids(i).start, len(corpus.part_ids(i))) for i in range(corpus.num_parts)]
    )
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1.0, atol=1e-6)
    exact, labels = all_distances(stored), corpus.labels
    shards = shard_bytes(workspace)
    assert [len(shard) for shard in shards[:-1]] == [700] * (len(shards) - 1) and len(shards) > 1
    triplets = pa.concat_tables(shards).to_pandas()
    assert (labels[triplets.anchor] == labels[triplets.positive]).all()
    assert (labels[triplets.anchor] != labels[triplets.negative]).all()
    d_ap, d_an = exact[triplets.anchor, triplets.positive], exact[triplets.anchor, triplets.negative]
    assert ((d_ap < d_an) & (d_an < d_ap + 0.2)).all()
    nearest = np.where(
        (labels[triplets.anchor][:, None] != labels) & (exact[triplets.anchor] > d_ap[:, None]),
        exact[triplets.anchor],
        np.inf,
    )
    np.testing.assert_allclose(nearest.min(axis=1), d_an, atol=1e-6)

    again = succeed("mine", *flags)
    assert again.report["published"] is False and "nothing to do" in again.words
    assert generations(workspace).numbers() == [0]


@pytest.fixture(scope="module")
def prepared(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A workspace with the vectors as its corpus, and the flags for jobs on it."""
    place = tmp_path_factory.mktemp("prepared")
    flags = (*vector_flags(vectors), f"--workspace={place}")
    succeed("prepare", *flags)
    return place, flags


def refreshed(place: Path, run_name: str, mining: MiningConfig, num_shards: int, **how: int) -> pa.Table:
    """Mines in this process's session; the triplets."""
    mined(place, run_name, mining, num_shards, **how)
    return pa.concat_tables(shard_bytes(Workspace.open(str(place), run_name)))


def mined(
    place: Path,
    run_name: str,
    mining: MiningConfig,
    num_shards: int,
    corpus_number: int | None = None,
    block: int = 110,
    num_actors: int = 1,
) -> GenerationManifest:
    """Mines in this process's session; the manifest."""
    config = RunConfig(
        workspace=str(place),
        run=run_name,
        encoder=EncoderConfig(name="identity", embedding_dim=16),
        mining=mining,
        cluster=ClusterConfig(num_actors=num_actors, num_shards=num_shards, anchors_per_block=block),
    )
    workspace = Workspace.open(config.workspace, config.run)
    corpus = Corpus.open(workspace, corpus_number)
    job = Job(config, workspace, corpus)
    with ActorPool(config.cluster, RefreshWorker, config, corpus.manifest.number) as pool:
        manifest, is_new = refresh(pool, RefreshRequest.resolve(job, newest_checkpoint(job)))
    assert is_new and manifest.backend == mining.backend
    assert manifest.num_pairs_verified > 64 and manifest.agreement == 1.0
    return manifest


def test_neither_shards_nor_backend_change_a_bit_of_what_is_published(
    prepared: tuple[Path, tuple[str, ...]], vectors: Path, tmp_path: Path
) -> None:
    pytest.importorskip("faiss", reason="the extra `cpu` is not installed")
    backends = ["reference"] if unavailable_reason() else ["reference", "native"]
    split = [
        refreshed(prepared[0], f"{backend}-{n}", MiningConfig(backend=backend, negatives_per_pair=2), n, num_actors=a)
        for backend, n, a in ((backends[0], 1, 1), (backends[0], 8, 2), (backends[-1], 2, 2))
    ]
    assert len(split[0]) > 0 and all(table.equals(split[0]) for table in split)

    few = tmp_path / "few.parquet"
    pq.write_table(pq.read_table(vectors).slice(0, 160), few)
    succeed("prepare", *vector_flags(few), f"--workspace={tmp_path}")
    most_empty, hard = 200, BandConfig(mode="hard")
    scanned = refreshed(tmp_path, "scan", MiningConfig(backend="reference", band=hard), 2)
    indexed = refreshed(tmp_path, "index", MiningConfig(backend="faiss", band=hard), most_empty, block=1000)
    assert len(scanned) > 0 and scanned.equals(indexed)


def test_a_sample_is_mined_from_what_the_generation_before_knew(prepared: tuple[Path, tuple[str, ...]]) -> None:
    whole = MiningConfig(backend="reference")
    sample = MiningConfig(backend="reference", candidate_fraction=0.2)
    cold = sample.model_copy(update={"warm_start": False})
    mined(prepared[0], "warm", whole, 2)
    best = pa.concat_tables(shard_bytes(Workspace.open(str(prepared[0]), "warm"))).to_pandas()
    warm = mined(prepared[0], "warm", sample, 3)
    kept = pa.concat_tables(shard_bytes(Workspace.open(str(prepared[0]), "warm"))).to_pandas()
    alone = refreshed(prepared[0], "cold", cold, 3).to_pandas()
    assert warm.warm_start_generation == 0
    assert kept.equals(best), "all that was best stayed"
    joined = alone.merge(best, on=["anchor", "positive"], suffixes=("", "_best"))
    assert len(joined) == len(alone) < len(best), "a fifth of the candidates answers fewer pairs"
    assert (joined.d_an >= joined.d_an_best).all() and (joined.d_an > joined.d_an_best).mean() > 0.3


def test_a_refresh_keeps_to_the_corpus_that_its_job_opened(vectors: Path, tmp_path: Path) -> None:
    flags = (*vector_flags(vectors), f"--workspace={tmp_path}")
    succeed("prepare", *flags)
    mining = MiningConfig(backend="reference")
    before = refreshed(tmp_path, "before", mining, 2)
    table = pq.read_table(vectors)
    other = tmp_path / "other.parquet"
    pq.write_table(table.set_column(2, "vector", pa.array(table["vector"].to_pylist()[::-1])), other)
    succeed("prepare", *vector_flags(other), f"--workspace={tmp_path}")
    shutil.rmtree(tmp_path / "embeddings")
    after = refreshed(tmp_path, "after", mining, 2, corpus_number=0)
    newest = refreshed(tmp_path, "newest", mining, 2)
    assert after.equals(before) and not newest.equals(before)


def test_a_local_ray_listens_on_the_loopback_address_alone() -> None:
    listening = set()
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a worker that was idle has ended
            connections = process.net_connections()
            listening |= {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
    assert listening and listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_collapsed_encoder_is_refused_and_nothing_published(prepared: tuple[Path, tuple[str, ...]]) -> None:
    place, flags = prepared
    refused = run("mine", *flags, "--mining.audit.min_spread=2")
    assert refused.code == 3 and "collapsed" in refused.words
    assert generations(Workspace.open(str(place), "main")).numbers() == []


def test_more_than_the_cluster_has_is_an_error_at_once(prepared: tuple[Path, tuple[str, ...]]) -> None:
    refused = run("mine", *prepared[1], "--cluster.gpus_per_actor=8")
    assert refused.code == 4 and "one actor reserves 0.5 CPU and 8 GPU, and no node of the cluster" in refused.words


def test_a_workspace_on_s3_works_like_a_folder(vectors: Path, s3_environment: S3Server) -> None:
    flags = (*vector_flags(vectors), "--workspace", f"s3://{s3_environment.bucket}/mine")
    succeed("prepare", *flags)
    first = succeed_apart("mine", *flags)
    assert first.report["published"] is True
    assert succeed("mine", *flags).report["published"] is False
    triplets = shard_bytes(Workspace.open(f"s3://{s3_environment.bucket}/mine", "main"))
    assert sum(map(len, triplets)) == first.report["generation"]["num_triplets"] > 0
    wrong = run_apart("mine", *flags, AWS_SECRET_ACCESS_KEY="not-the-secret")
    assert wrong.code == 2 and "not-the-secret" not in wrong.words
    assert len(wrong.words.strip().splitlines()) == 1
