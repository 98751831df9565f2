"""Real embeddings: those that a run's newest generation was mined from."""

import numpy as np

from pipeline.embeddings.parts import EmbeddingParts
from pipeline.errors import InputError
from pipeline.inspection.generation import corpus_of
from pipeline.mining.shards import Shard
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations


def load_trained(uri: str, run: str) -> Shard:
    """The training examples of a workspace, with the embeddings of the newest generation of a run.

    Raises:
        InputError: There is none, or its corpus is gone.
    """
    workspace = Workspace.open(uri, run)
    manifest = generations(workspace).latest()
    if manifest is None:
        raise InputError(f"the run {run} of {uri} has no generation: `make demo` makes one in build/demo")
    corpus = corpus_of(workspace, manifest)
    parts = EmbeddingParts(workspace, manifest.embeddings_key)
    spans = [corpus.part_ids(part) for part in range(corpus.num_parts)]
    vectors_ND = np.concatenate([parts.read(part, span.start, len(span)) for part, span in enumerate(spans)])
    ids_N = np.flatnonzero(~corpus.is_test)
    return Shard(ids_N, corpus.labels[ids_N], vectors_ND[ids_N])
