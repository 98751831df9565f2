"""Export: embed the corpus with a checkpoint, and write the embeddings as Parquet files for others to use."""

from dataclasses import dataclass

import numpy as np

from pipeline.embeddings.export import ExportDType, export_part
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import checkpoints, config_of
from pipeline.evaluation.quantisation import quantise
from pipeline.evaluation.verification.pairs import check_finite
from pipeline.progress import stage
from pipeline.runtime.actor_pool import ActorPool
from pipeline.runtime.session import required_resources, session
from pipeline.stages.embed.stage import embed, key_of
from pipeline.stages.embed.worker import EncodeWorker
from pipeline.stages.job import Job
from pipeline.storage.leases import acquire_pins


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        uri: The folder of the files.
        num_examples: Rows in all.
        num_bytes: Of the vectors alone.
    """

    uri: str
    num_examples: int
    num_bytes: int


def export(job: Job, step: int, dtype: ExportDType) -> Export:
    """Writes a file for each part of the corpus, and last ``_export.json``, which says that all are there.

    The same checkpoint and corpus give the same files.

    Args:
        job: Its workspace is where the checkpoint is, and where the files go:
            ``runs/<run>/exports/<step>/<corpus>-<dtype>/``.
        step: Of the checkpoint.
        dtype: What is stored; ``int8`` takes D bytes a vector.

    Raises:
        InputError: An embedding is not finite.
    """
    config, workspace, corpus = job.config, job.workspace, job.corpus
    checkpoint = checkpoints(workspace).read(step)
    own = config_of(checkpoint, config)
    key = key_of(own, corpus, checkpoint)
    read = (
        corpus.manifest_key,
        checkpoints(workspace).manifest_key(step),
        f"{workspace.embeddings_prefix(key)}/",
    )
    with acquire_pins(workspace.store, f"export of checkpoint {step}", *read).renewing():
        with (
            session(config.cluster, required_resources(config, pool=True, trainer=False)),
            ActorPool(config.cluster, EncodeWorker, config, corpus.manifest.number) as pool,
        ):
            embed(pool, job.with_config(own), checkpoint, key)
        facts = {
            "run": workspace.run,
            "checkpoint_step": str(step),
            "weights_digest": checkpoint.weights_digest,
            "corpus_fingerprint": corpus.fingerprint,
        }
        folder = f"{workspace.export_prefix(step)}/{corpus.manifest.number:09d}-{dtype}"
        parts = EmbeddingParts(workspace, key)
        with stage(f"export step {step}", corpus.num_examples, "examples") as advance:
            for part in range(corpus.num_parts):
                ids = corpus.part_ids(part)
                vectors = parts.read(part, ids.start, len(ids)).astype(np.float32)
                check_finite(vectors)
                labels = [corpus.label_names[code] for code in corpus.labels[ids.start : ids.stop]]
                stored = quantise(vectors) if dtype == "int8" else vectors
                data = export_part(ids, corpus.read_paths(part), labels, stored, dtype, facts)
                workspace.store.put(f"{folder}/{part:06d}.parquet", data)
                advance(len(ids))
    document = facts | {"num_examples": corpus.num_examples, "num_files": corpus.num_parts, "dtype": dtype}
    workspace.put_json(f"{folder}/_export.json", document)
    num_bytes = corpus.num_examples * own.encoder.embedding_dim * np.dtype(dtype).itemsize
    return Export(workspace.uri_of(folder), corpus.num_examples, num_bytes)
