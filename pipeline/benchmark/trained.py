"""Real embeddings: those that a run's generations were mined from."""

from dataclasses import dataclass

import numpy as np

from pipeline.embeddings.parts import EmbeddingParts
from pipeline.errors import InputError
from pipeline.inspection.generation import corpus_of
from pipeline.mining.shards import Shard
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations


@dataclass(frozen=True)
class Trained:
    """The training examples of a workspace at one stage.

    Attributes:
        checkpoint_step: Of the encoder; 0 is untrained.
        shard: Their embeddings.
    """

    checkpoint_step: int
    shard: Shard


def load_trained(uri: str, run: str) -> list[Trained]:
    """The generations of a run, oldest first, whose embeddings are stored still.

    Raises:
        InputError: There is none.
    """
    workspace = Workspace.open(uri, run)
    found = []
    for manifest in generations(workspace).newest_first():
        try:
            corpus = corpus_of(workspace, manifest)
        except InputError:  # pruned, as its embeddings may be
            continue
        parts = EmbeddingParts(workspace, manifest.embeddings_key)
        if parts.present() >= set(range(corpus.num_parts)):
            spans = [corpus.part_ids(part) for part in range(corpus.num_parts)]
            vectors_ND = np.concatenate([parts.read(part, span.start, len(span)) for part, span in enumerate(spans)])
            ids_N = np.flatnonzero(~corpus.is_test)
            found.append(Trained(manifest.checkpoint_step, Shard(ids_N, corpus.labels[ids_N], vectors_ND[ids_N])))
    if not found:
        raise InputError(
            f"the run {run} of {uri} has no generation with its embeddings: `make demo` makes some in build/demo"
        )
    return found[::-1]
