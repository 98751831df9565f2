"""The protocol "harmonic": a checkpoint's vectors against those of the old encoder that it is to be comparable with."""

import numpy as np

from pipeline.cluster.embed_stage import embed
from pipeline.cluster.examination import Examination
from pipeline.cluster.harmonic import open_old
from pipeline.encoders.checkpoints import config_of
from pipeline.encoders.pretrained import find_checkpoint
from pipeline.errors import InputError
from pipeline.evaluation.compatibility import Compatibility, measure_compatibility
from pipeline.storage.workspace import Workspace


def measure(one: Examination) -> Compatibility:
    """New against new, new against old, old against old, on the examined examples.

    Raises:
        InputError: No old encoder is known, or its embeddings have another length.
    """
    against, recorded = one.config.evaluation.against, one.checkpoint.harmonic
    if against is not None:
        run, checkpoint = find_checkpoint(against, one.workspace, "evaluation.against")
        place = Workspace(one.workspace.store, run)
    elif recorded is not None:
        place, checkpoint = open_old(one.workspace, recorded)
    else:
        raise InputError(
            f"{one.name} was not trained to be comparable with an old encoder: name one with evaluation.against, as "
            "RUN:STEP"
        )
    own = config_of(checkpoint, one.config)
    key = embed(one.pool, own, place, one.corpus, checkpoint)
    old = Examination("", one.pool, own, place, one.corpus, checkpoint, key, np.zeros(0, dtype=np.bool_))
    subject, evaluation = one.subject, one.config.evaluation
    old_ND = old.vectors_ND[subject.ids_N]
    return measure_compatibility(subject.vectors_ND, old_ND, subject.labels_N, evaluation, one.config.seed)
