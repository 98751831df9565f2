"""Embed: every part of the corpus that this checkpoint has not embedded yet, over the pool."""

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts, embeddings_key
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.progress import log, stage
from pipeline.runtime.actor_pool import Task
from pipeline.stages.embed.worker import EncodePool, EncodeWorker
from pipeline.stages.job import Job
from pipeline.storage.workspace import Workspace


def key_of(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """The key under which a checkpoint's embeddings of a corpus are kept; the checkpoint may be of any architecture."""
    part_sizes = [len(corpus.part_ids(part)) for part in range(corpus.num_parts)]
    cluster = config.cluster
    computed = f"{config.embed.model_dump_json()} on {cluster.actor_device}, {cluster.threads_per_actor} threads"
    return embeddings_key(
        checkpoint.weights_digest,
        corpus.fingerprint,
        part_sizes,
        checkpoint.transform.digest(),
        computed,
    )


def embed(pool: EncodePool, job: Job, checkpoint: CheckpointManifest, key: str) -> None:
    """Embeds the corpus with a checkpoint's own encoder and preprocessing; parts that are stored already are skipped.

    The job's workspace is the checkpoint's, which may be of another run than the config. The key is that of ``key_of``.
    """
    workspace, corpus = job.workspace, job.corpus
    missing = missing_parts(workspace, corpus, key)
    if not missing:
        return
    if len(missing) < corpus.num_parts:
        log(f"embed: {corpus.num_parts - len(missing)} of {corpus.num_parts} parts are there already")
    run, step = workspace.run, checkpoint.step
    tasks = (Task(part, EncodeWorker.embed_part, run, step, key, part) for part in missing)
    total = sum(len(corpus.part_ids(part)) for part in missing)
    with stage(f"embed step {step}", total, "examples") as advance:
        for part, num_examples in pool.run(tasks):
            advance(num_examples, f"part {part}")


def missing_parts(workspace: Workspace, corpus: Corpus, key: str) -> list[int]:
    """The parts of a corpus that are not stored under a key."""
    present = EmbeddingParts(workspace, key).present()
    return [part for part in range(corpus.num_parts) if part not in present]
