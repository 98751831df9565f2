"""The protocol "harmonic": a checkpoint's vectors against those of an old encoder."""

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoint_names import find_checkpoint
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import InputError
from pipeline.evaluation.compatibility.protocol import Compatibility, evaluate_compatibility
from pipeline.stages.embed.harmonic import open_old
from pipeline.stages.evaluate.context import EvaluationContext, build_context
from pipeline.stages.job import Job
from pipeline.storage.workspace import Workspace


def unavailable_reason(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """What is missing for this protocol, in a sentence; empty where nothing is."""
    if config.evaluation.against is not None or checkpoint.harmonic is not None:
        return ""
    return (
        f"the checkpoint of step {checkpoint.step} was not trained to be comparable with an old encoder: name one with "
        "evaluation.against, as RUN:STEP"
    )


def evaluate(context: EvaluationContext) -> Compatibility:
    """Compares new with new, new with old and old with old, on labels that neither encoder was trained on.

    Raises:
        InputError: There is no such old encoder, its embeddings have another length, or it was trained on labels of the
            evaluation set, which the config does not allow.
    """
    config = context.job_config
    against, recorded = config.evaluation.against, context.checkpoint.harmonic
    if against is not None:
        run, checkpoint = find_checkpoint(against, context.workspace, "evaluation.against")
        workspace = Workspace(context.workspace.store, run)
    elif recorded is not None:
        workspace, checkpoint = open_old(context.workspace, recorded)
    else:
        raise InputError(unavailable_reason(config, context.corpus, context.checkpoint))
    old = build_context(context.pool, Job(config, workspace, context.corpus), checkpoint.step)
    examples = context.evaluation_set
    return evaluate_compatibility(
        examples.vectors_ND, old.evaluation_set.vectors_ND, examples.labels_N, config.evaluation, config.seed
    )
