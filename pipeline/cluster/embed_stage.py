"""Embed: every part of the corpus that this checkpoint has not embedded yet, over the pool."""

from pipeline.cluster.pool import ActorPool, Task
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts, embeddings_key
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.progress import say, stage
from pipeline.storage.workspace import Workspace


def key_of(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """The key under which a checkpoint's embeddings of a corpus are kept."""
    part_sizes = [len(corpus.part_ids(part)) for part in range(corpus.num_parts)]
    cluster = config.cluster
    computed = f"{config.embed.model_dump_json()} on {cluster.actor_device}, {cluster.threads_per_actor} threads"
    return embeddings_key(
        checkpoint.weights_digest,
        corpus.fingerprint,
        part_sizes,
        config.transform.digest(),
        computed,
    )


def embed(
    pool: ActorPool, config: RunConfig, workspace: Workspace, corpus: Corpus, checkpoint: CheckpointManifest
) -> str:
    """Embeds the whole corpus with a checkpoint; parts that are stored already are skipped.

    Returns:
        The embeddings' key.
    """
    key = key_of(config, corpus, checkpoint)
    present = EmbeddingParts(workspace, key).present()
    missing = [part for part in range(corpus.num_parts) if part not in present]
    if not missing:
        return key
    if present:
        say(f"embed: {len(present)} of {corpus.num_parts} parts are there already")
    tasks = (Task(part, "embed_part", (workspace.run, checkpoint.step, key, part)) for part in missing)
    total = sum(len(corpus.part_ids(part)) for part in missing)
    with stage(f"embed step {checkpoint.step}", total, "examples") as done:
        for part, num_examples in pool.run(tasks):
            done(num_examples, f"part {part}")
    return key
