"""The evaluation context: a checkpoint with its embeddings, as the protocols get it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, config_of
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.stages.embed.stage import embed, key_of
from pipeline.stages.embed.worker import EncodePool
from pipeline.stages.evaluate.leakage import check_leakage, trained_labels
from pipeline.stages.job import Job
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """The examples on which a checkpoint is evaluated.

    Attributes:
        ids_N: example_id, int64, ascending.
        vectors_ND: Their embeddings, float32 unit vectors.
        labels_N: Their label codes, int32.
    """

    ids_N: npt.NDArray[np.int64]
    vectors_ND: Float32Array
    labels_N: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class EvaluationContext:
    """A checkpoint that is evaluated, its stored embeddings, and what the protocols need beside them.

    Attributes:
        name: Of the checkpoint, for people: "main step 300".
        pool: Actors that can embed.
        job_config: The job's config.
        config: The same with the checkpoint's own encoder and transform.
        workspace: Of the checkpoint's run.
        corpus: The pinned corpus.
        checkpoint: The checkpoint that is evaluated.
        embeddings_key: Of its embeddings, all of which are stored.
        trained_L: bool (L,), labels that it was trained on; None: unknown.
    """

    name: str
    pool: EncodePool
    job_config: RunConfig
    config: RunConfig
    workspace: Workspace
    corpus: Corpus
    checkpoint: CheckpointManifest
    embeddings_key: str
    trained_L: npt.NDArray[np.bool_] | None

    @cached_property
    def vectors_ND(self) -> Float32Array:
        """Embeddings of the whole corpus, float32, by example id."""
        corpus, parts = self.corpus, EmbeddingParts(self.workspace, self.embeddings_key)
        vectors_ND = np.empty((corpus.num_examples, self.config.encoder.embedding_dim), dtype=np.float32)
        for part in range(corpus.num_parts):
            ids = corpus.part_ids(part)
            vectors_ND[ids.start : ids.stop] = parts.read(part, ids.start, len(ids))
        return vectors_ND

    @cached_property
    def evaluation_set(self) -> EvaluationSet:
        """The examples that the config chooses: those of the test labels, or all.

        Raises:
            InputError: There are none, or the checkpoint was trained on their labels, which the config does not allow.
        """
        ids_N = evaluation_ids(self.config, self.corpus)
        labels_N = self.corpus.labels[ids_N]
        allowed = self.config.evaluation.allow_trained_labels
        check_leakage(self.name, self.trained_L, np.unique(labels_N), self.corpus.label_names, allowed)
        return EvaluationSet(ids_N, self.vectors_ND[ids_N], labels_N)

    @cached_property
    def paths(self) -> list[str]:
        """Paths of the examples in their source, by example id."""
        return [path for part in range(self.corpus.num_parts) for path in self.corpus.read_paths(part)]

    @property
    def folder(self) -> str:
        """Key prefix of its results; those on all examples never replace those on the test labels."""
        prefix = self.workspace.evaluation_prefix(self.checkpoint.step)
        return prefix if self.config.evaluation.examples == "test" else f"{prefix}/all"

    def provenance(self) -> dict[str, Any]:
        """Names the checkpoint and the corpus, at the head of every document."""
        return {
            "checkpoint": self.name,
            "weights_digest": self.checkpoint.weights_digest,
            "corpus": self.corpus.manifest.number,
            "corpus_fingerprint": self.corpus.fingerprint,
        }

    def evaluation_set_provenance(self) -> dict[str, Any]:
        """Describes the evaluation set, for results on it."""
        labels = np.unique(self.evaluation_set.labels_N)
        num_trained = None if self.trained_L is None else int(self.trained_L[labels].sum())
        return {"examples": self.config.evaluation.examples, "num_trained_labels": num_trained}


def build_context(pool: EncodePool, job: Job, step: int) -> EvaluationContext:
    """Embeds the corpus with a checkpoint of the job's run, and finds out which labels it was trained on.

    The checkpoint's own encoder and transform replace the config's.
    """
    config, workspace, corpus = job.config, job.workspace, job.corpus
    checkpoint = checkpoints(workspace).read(step)
    own = config_of(checkpoint, config)
    trained_L = trained_labels(workspace, checkpoint, corpus)
    name = f"{workspace.run} untrained" if step == 0 else f"{workspace.run} step {step}"
    if trained_L is None:
        log(
            f"WARNING: what {name} was trained on is not known here (a corpus that is not in this workspace, a file of "
            "weights, or vectors that come from elsewhere): it may have seen labels that it is now measured on"
        )
    key = key_of(own, corpus, checkpoint)
    embed(pool, job.with_config(own), checkpoint, key)
    return EvaluationContext(name, pool, config, own, workspace, corpus, checkpoint, key, trained_L)


def has_test_pairs(corpus: Corpus) -> bool:
    """Whether the test labels can be evaluated: there are two of them, and one has two examples."""
    return _has_pairs(corpus.labels[corpus.is_test])


def evaluation_ids(config: RunConfig, corpus: Corpus) -> npt.NDArray[np.int64]:
    """Ids of the examples that the config chooses, ascending.

    Raises:
        InputError: They have no two labels, or no label with two examples.
    """
    ids_N = np.flatnonzero(corpus.is_test) if config.evaluation.examples == "test" else np.arange(corpus.num_examples)
    if not _has_pairs(corpus.labels[ids_N]):
        raise InputError(
            "the corpus keeps no test label with two examples: prepare it with a larger corpus.test_fraction, or "
            "measure on everything with evaluation.examples all"
        )
    return ids_N


def _has_pairs(labels_N: npt.NDArray[np.int32]) -> bool:
    counts = np.unique(labels_N, return_counts=True)[1]
    return len(counts) >= 2 and int(counts.max()) >= 2
