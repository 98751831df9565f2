"""The protocol "robustness": embeds a sample of the examples once for each perturbation of their images."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.evaluation.robustness.perturbations import Perturbation, perturbation_sweeps
from pipeline.evaluation.robustness.protocol import Robustness, evaluate_robustness, sample_examples
from pipeline.progress import stage
from pipeline.runtime.actor_pool import Task
from pipeline.stages.embed.worker import EncodeWorker
from pipeline.stages.evaluate.context import EvaluationContext

EXAMPLES_PER_TASK = 256


def unavailable_reason(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """What is missing for this protocol, in a sentence; empty where nothing is."""
    if corpus.payload.viewer is not None:
        return ""
    return f"robustness perturbs images, and this corpus holds {corpus.payload.plural}: measure another protocol"


def evaluate(context: EvaluationContext) -> Robustness:
    """Evaluates all sweeps of the config, on a corpus of images.

    Raises:
        InputError: There are too few examples.
    """
    examples, config, seed = context.evaluation_set, context.config.evaluation, context.config.seed
    rows = sample_examples(examples.labels_N, config.robustness.max_examples, seed)
    perturbed = _embed_perturbed(context, examples.ids_N[rows])
    return evaluate_robustness(examples.vectors_ND[rows], perturbed, examples.labels_N[rows], config, seed)


def _embed_perturbed(
    context: EvaluationContext, ids_N: npt.NDArray[np.int64]
) -> Iterator[tuple[Perturbation, npt.NDArray[np.float32]]]:
    """Yields each perturbation with the embeddings of the examples under it."""
    perturbations = [p for sweep in perturbation_sweeps(context.config.evaluation.robustness).values() for p in sweep]
    chunks = np.array_split(ids_N, -(-len(ids_N) // EXAMPLES_PER_TASK))
    run, step = context.workspace.run, context.checkpoint.step
    tasks = (
        Task((index, chunk), EncodeWorker.embed_perturbed, run, step, ids, perturbation)
        for index, perturbation in enumerate(perturbations)
        for chunk, ids in enumerate(chunks)
    )
    waiting: dict[int, dict[int, npt.NDArray[np.float32]]] = {}
    # The metrics of stages are labelled with the first word of their names, which therefore stays "spoil".
    with stage(f"spoil step {step}", len(perturbations) * len(ids_N), "images") as advance:
        for (index, chunk), vectors in context.pool.run(tasks):
            waiting.setdefault(index, {})[chunk] = vectors
            advance(len(vectors), perturbations[index].name)
            if len(waiting[index]) == len(chunks):
                by_chunk = waiting.pop(index)
                yield perturbations[index], np.concatenate([by_chunk[i] for i in range(len(chunks))])
