"""The protocol "harmonic": a checkpoint's vectors against those of the old encoder that it is to be comparable with."""

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.encoders.pretrained import find_checkpoint
from pipeline.errors import InputError
from pipeline.evaluation.compatibility.protocol import Compatibility, measure_compatibility
from pipeline.stages.embed.harmonic import open_old
from pipeline.stages.evaluate.examination import Examination, examine
from pipeline.storage.workspace import Workspace


def why_not(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """What is missing for this protocol."""
    if config.evaluation.against is not None or checkpoint.harmonic is not None:
        return ""
    return (
        f"the checkpoint of step {checkpoint.step} was not trained to be comparable with an old encoder: name one with "
        "evaluation.against, as RUN:STEP"
    )


def measure(one: Examination) -> Compatibility:
    """New against new, new against old, old against old, on examples of which neither encoder has seen the labels.

    Raises:
        InputError: There is no such old encoder, its embeddings have another length, or it was trained on labels that
            are measured on, which the config does not allow.
    """
    against, recorded = one.asked.evaluation.against, one.checkpoint.harmonic
    if against is not None:
        run, checkpoint = find_checkpoint(against, one.workspace, "evaluation.against")
        place = Workspace(one.workspace.store, run)
    elif recorded is not None:
        place, checkpoint = open_old(one.workspace, recorded)
    else:
        raise InputError(why_not(one.asked, one.corpus, one.checkpoint))
    old = examine(one.pool, one.asked, place, one.corpus, checkpoint.step)
    subject, config = one.subject, one.asked
    return measure_compatibility(
        subject.vectors_ND, old.subject.vectors_ND, subject.labels_N, config.evaluation, config.seed
    )
