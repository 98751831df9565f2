from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import EncoderConfig, OldEncoder, RunConfig, TransformConfig
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.encoders.registry import initial_encoder
from pipeline.errors import InputError, UnavailableError
from pipeline.mining.sampling import sample_candidates
from pipeline.mining.shards import Shard
from pipeline.stages.embed.harmonic import check_old, choose_old, lacks_old_vectors, open_old, wait_for_old_vectors
from pipeline.stages.embed.mixture import Mixture, check_usable, is_old, sample_seed
from pipeline.stages.embed.stage import key_of
from pipeline.stages.job import Job
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.shard_loader import ShardStatistics, Span, load_shard
from pipeline.stages.mine.worker import RefreshWorker
from pipeline.stages.train.generation_selector import GenerationSelector
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.unit.corpus.samples import run_prepare, write_vectors
from tests.unit.encoders.samples import checkpoint
from tests.unit.triplets.samples import manifest_of

OLD = EncoderConfig(embedding_dim=8, options={"base_width": 4})
OLD_TRANSFORM = TransformConfig(height=24, width=24)
IDS = np.arange(20_000, dtype=np.int64)


def configured(folder: Path, **changes: Any) -> RunConfig:  # noqa: ANN401 — fields of all types
    """A run named "new" on a few glyphs, of another architecture than that of OLD."""
    glyphs = {"max_labels": 8, "image_size": 16, "min_faces": 4, "max_faces": 4}
    document: dict[str, Any] = {
        "workspace": str(folder),
        "run": "new",
        "corpus": {"source": {"glyphs": glyphs}, "examples_per_part": 12, "test_fraction": 0.3},
        "transform": {"height": 16, "width": 16},
        "encoder": {"embedding_dim": 8, "options": {"base_width": 8}},
        "embed": {"batch_size": 8},
    }
    return RunConfig.model_validate(document | changes)


def save(
    workspace: Workspace, config: RunConfig, step: int = 0, seed: int = 0, harmonic: OldEncoder | None = None
) -> CheckpointManifest:
    """Publishes a checkpoint of the config's architecture."""
    encoder = initial_encoder(config.encoder, config.transform, seed)
    return checkpoint(workspace, step, encoder, config, harmonic=harmonic)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """On a corpus and, in run "old", two checkpoints of another architecture; its config names the first."""
    config = configured(tmp_path, harmonic={"checkpoint": "old:5"})
    workspace = Workspace.open(str(tmp_path), "new")
    run_prepare(config.corpus, workspace)
    theirs = config.model_copy(update={"encoder": OLD, "transform": OLD_TRANSFORM})
    for step in (5, 9):
        save(Workspace(workspace.store, "old"), theirs, step=step, seed=step)
    return Job(config, workspace, Corpus.open(workspace))


def begun(job: Job) -> tuple[CheckpointManifest, OldEncoder]:
    """The first checkpoint of the new run, and the old encoder that it is to be comparable with."""
    old = choose_old(job)
    assert old is not None
    return save(job.workspace, job.config, harmonic=old), old


def embed_all(job: Job, run: str, step: int) -> str:
    """Embeds the corpus as the actors do; returns the key."""
    manifest = checkpoints(job.of_run(run).workspace).read(step)
    key = key_of(job.config, job.corpus, manifest)
    worker = RefreshWorker(job.config, job.corpus.manifest.number)
    for part in range(job.corpus.num_parts):
        worker.embed_part(run, step, key, part)
    return key


def test_the_draw_is_by_id_and_seed_alone_and_takes_its_share() -> None:
    drawn = is_old(IDS, 0.3, sample_seed(1, 400))
    assert drawn.mean() == pytest.approx(0.3, abs=0.02)
    shuffled = np.random.default_rng(0).permutation(IDS)
    np.testing.assert_array_equal(is_old(shuffled, 0.3, sample_seed(1, 400)), drawn[shuffled])
    for other in (sample_seed(1, 800), sample_seed(2, 400)):
        assert 0.3 < (is_old(IDS, 0.3, other) == drawn).mean() < 0.7
    assert not is_old(IDS, 0.0, 3).any() and is_old(IDS, 1.0, 3).all()


def test_the_draw_is_not_the_one_that_samples_candidates() -> None:
    shard = Shard(IDS, np.zeros(len(IDS), np.int32), np.zeros((len(IDS), 1), np.float32))
    sampled = sample_candidates(shard, 0.5, sample_seed(1, 400)).ids_N
    assert is_old(sampled, 0.5, sample_seed(1, 400)).mean() == pytest.approx(0.5, abs=0.02)


def test_the_old_encoder_is_fixed_when_the_run_begins(job: Job) -> None:
    newest = job.with_config(configured(Path(job.config.workspace), harmonic={"checkpoint": "old"}))
    alone = job.with_config(configured(Path(job.config.workspace)))
    chosen = choose_old(newest)
    assert (str(choose_old(job)), str(chosen), choose_old(alone)) == ("old:5", "old:9", None)
    first = save(job.workspace, job.config, harmonic=chosen)
    assert checkpoints(job.workspace).read(0).harmonic == chosen
    save(job.of_run("old").workspace, job.config.model_copy(update={"encoder": OLD}), step=11)
    check_old(newest.config, first)  # RUN still means step 9
    for other in (job, alone):
        with pytest.raises(InputError, match=r"run 'new' began with 'old:9': .*--run.*--encoder\.pretrained new:0"):
            check_old(other.config, first)
    with pytest.raises(InputError, match=r"harmonic\.checkpoint is 'old', but run 'new' began without one"):
        check_old(newest.config, first.model_copy(update={"harmonic": None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"harmonic": {"checkpoint": "old:6"}}, r"'old:6': run 'old' has no checkpoint 6; choose one of \[5, 9\]"),
        ({"harmonic": {"checkpoint": "odl"}}, r"run 'odl' has no checkpoint in .*; train it first"),
        ({"encoder": {"embedding_dim": 16}}, r"'old:5' have length 8, and encoder\.embedding_dim is 16"),
    ],
)
def test_an_old_encoder_that_cannot_be_compared_with_is_refused(
    job: Job, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        choose_old(job.with_config(RunConfig.model_validate(job.config.model_dump() | changes)))
    assert "\n" not in str(error.value)


def test_an_old_encoder_that_was_replaced_is_noticed(job: Job) -> None:
    _, old = begun(job)
    assert open_old(job.workspace, old)[1].encoder == OLD
    for gone in ({"step": 6}, {"weights_digest": "0" * 64}):
        with pytest.raises(InputError, match=r"'old:\d' that run 'new' is .* not in .* any more"):
            open_old(job.workspace, old.model_copy(update=gone))


def test_a_refresh_is_asked_for_by_old_encoder_and_share_too(job: Job) -> None:
    first, old = begun(job)
    less = configured(Path(job.config.workspace), harmonic={"checkpoint": "old:5", "mined_share": 0.25})
    plain = configured(Path(job.config.workspace))
    other = first.model_copy(update={"harmonic": old.model_copy(update={"weights_digest": "0" * 64})})
    alone = first.model_copy(update={"harmonic": None})
    asked = [(job.config, first), (less, first), (job.config, other), (plain, alone)]
    keys = {RefreshRequest.resolve(job.with_config(own), manifest).key for own, manifest in asked}
    assert len(keys) == len(asked)


def test_a_trainer_takes_generations_of_its_own_mixture_only(job: Job) -> None:
    begun_with, old = begun(job)
    first = begun_with.model_copy(update={"weights_digest": "w" * 64})
    job.corpus.manifest = job.corpus.manifest.model_copy(update={"fingerprint": "f" * 64})
    published, selector = generations(job.workspace), GenerationSelector(job.workspace, job.corpus, job.config)
    for number, mixed in enumerate([{}, {"old_share": 0.25}, {"old_share": 0.5}]):
        assert selector.find(first) is None
        transaction = published.begin(number)
        as_mixed = mixed | ({"harmonic": old} if mixed else {})
        transaction.commit(manifest_of(transaction, 0).model_copy(update=as_mixed))
    found = selector.find(first)
    assert found is not None and found.number == 2
    np.testing.assert_array_equal(selector.uses_old_vectors(2, IDS), is_old(IDS, 0.5, sample_seed(0, 0)))


def test_a_mined_shard_holds_old_vectors_where_they_were_drawn(job: Job) -> None:
    """The old encoder embeds with its own architecture and preprocessing, whatever the run's are."""
    begun(job)
    new_key, old_key = embed_all(job, "new", 0), embed_all(job, "old", 5)

    def loaded(key: str, mixture: Mixture | None = None) -> tuple[Shard, Shard | None, ShardStatistics]:
        span = Span(key, 3, job.corpus.num_examples - 2, 11, mixture)
        return load_shard(job.config, job.corpus.manifest.number, span)

    news, _, plain = loaded(new_key)
    olds, _, _ = loaded(old_key)
    mixed, _, audited = loaded(new_key, Mixture(old_key, 0.5))
    drawn = is_old(news.ids_N, 0.5, 11)
    assert drawn.any() and not drawn.all() and not (news.vectors_ND == olds.vectors_ND).any()
    np.testing.assert_array_equal(mixed.vectors_ND, np.where(drawn[:, None], olds.vectors_ND, news.vectors_ND))
    np.testing.assert_array_equal(mixed.ids_N, news.ids_N)
    np.testing.assert_array_equal(audited.moments.sum_D, plain.moments.sum_D)  # a collapsed new encoder is seen
    none, _, _ = loaded(new_key, Mixture(old_key, 0.0))
    np.testing.assert_array_equal(none.vectors_ND, news.vectors_ND)


def test_the_trainer_gets_every_old_vector_by_its_id_once_they_stand(job: Job) -> None:
    first, old = begun(job)
    assert lacks_old_vectors(job, first)
    heard: list[str] = []
    training = job.config.training.model_copy(update={"generation_timeout_s": 0.1})
    hasty = job.with_config(job.config.model_copy(update={"training": training}))
    with pytest.raises(UnavailableError, match=r"old encoder 'old:5' did not appear .*jobs\.mine"):
        wait_for_old_vectors(hasty, old, heard.append)
    assert heard == ["waiting for the vectors of the old encoder 'old:5' (jobs.mine)"]
    stored, corpus = EmbeddingParts(job.workspace, embed_all(job, "old", 5)), job.corpus
    assert not lacks_old_vectors(job, first)
    found = wait_for_old_vectors(hasty, old, heard.append)
    spans = [corpus.part_ids(part) for part in range(corpus.num_parts)]
    parts = [stored.read(part, ids.start, len(ids)) for part, ids in enumerate(spans)]
    np.testing.assert_array_equal(found, np.concatenate(parts))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_old_vector_that_nothing_can_be_compared_with_is_refused_by_name(value: float) -> None:
    vectors = np.eye(4, dtype=np.float32)
    check_usable(IDS[:4], vectors)
    vectors[2] = value
    with pytest.raises(InputError, match=r"1 training example\(s\), the first of them example 12:"):
        check_usable(IDS[10:14], vectors)


def test_old_vectors_of_another_corpus_of_vectors_are_those_of_the_identity(tmp_path: Path) -> None:
    """A corpus of vectors, with the vectors themselves as the old embedding."""
    vectors = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    file = write_vectors(tmp_path / "vectors.parquet", vectors.tolist(), [str(i // 3) for i in range(12)])
    source = {"kind": "parquet", "path": str(file)}
    config = configured(tmp_path / "w", corpus={"source": source, "test_fraction": 0}, harmonic={"checkpoint": "old"})
    workspace = Workspace.open(config.workspace, "new")
    run_prepare(config.corpus, workspace)
    identity = config.model_copy(update={"encoder": EncoderConfig(name="identity", embedding_dim=8)})
    save(Workspace(workspace.store, "old"), identity)
    job = Job.open(config)
    old = choose_old(job)
    assert old is not None
    embed_all(job, "old", 0)
    found = wait_for_old_vectors(job, old, print)
    expected = {tuple(np.round(v / np.linalg.norm(v), 5)) for v in vectors}
    assert {tuple(np.round(v, 5)) for v in found} == expected
