"""Robustness on a checkpoint: a sample of the examples, embedded once for each way of spoiling them."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.evaluation.robustness.perturbations import Perturbation, sweeps
from pipeline.evaluation.robustness.protocol import Robustness, measure_robustness, sample_examples
from pipeline.progress import stage
from pipeline.runtime.actor_pool import Task
from pipeline.stages.embed.worker import EncodeWorker
from pipeline.stages.evaluate.examination import Examination

EXAMPLES_PER_TASK = 256


def why_not(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """What is missing for this protocol."""
    if corpus.payload.viewer is not None:
        return ""
    return f"robustness spoils images, and this corpus holds {corpus.payload.plural}: measure another protocol"


def measure(one: Examination) -> Robustness:
    """All sweeps of the config, on a corpus of images.

    Raises:
        InputError: There are too few examples.
    """
    evaluation, seed, subject = one.config.evaluation, one.config.seed, one.subject
    rows = sample_examples(subject.labels_N, evaluation.robustness.max_examples, seed)
    spoilt = _spoilt(one, subject.ids_N[rows])
    return measure_robustness(subject.vectors_ND[rows], spoilt, subject.labels_N[rows], evaluation, seed)


def _spoilt(one: Examination, ids_N: npt.NDArray[np.int64]) -> Iterator[tuple[Perturbation, npt.NDArray[np.float32]]]:
    """Each perturbation with the embeddings of the examples under it; drawn one after the other."""
    perturbations = [p for sweep in sweeps(one.config.evaluation.robustness).values() for p in sweep]
    chunks = np.array_split(ids_N, -(-len(ids_N) // EXAMPLES_PER_TASK))
    run, step = one.workspace.run, one.checkpoint.step
    tasks = (
        Task((place, chunk), EncodeWorker.embed_spoilt, run, step, ids, perturbation)
        for place, perturbation in enumerate(perturbations)
        for chunk, ids in enumerate(chunks)
    )
    waiting: dict[int, dict[int, npt.NDArray[np.float32]]] = {}
    with stage(f"spoil step {step}", len(perturbations) * len(ids_N), "images") as done:
        for (place, chunk), vectors in one.pool.run(tasks):
            waiting.setdefault(place, {})[chunk] = vectors
            done(len(vectors), perturbations[place].name)
            if len(waiting[place]) == len(chunks):
                found = waiting.pop(place)
                yield perturbations[place], np.concatenate([found[i] for i in range(len(chunks))])
