"""The checkpoint that a job works with: the newest of its run, or the one that training starts from."""

from pipeline.config import RunConfig
from pipeline.corpus.payloads import payload_of
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import (
    CheckpointContents,
    CheckpointManifest,
    checkpoints,
    load_encoder,
    save_checkpoint,
)
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.encoders.registry import payload_taken
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.stages.embed.harmonic import check_old, choose_old
from pipeline.stages.job import Job


def newest_checkpoint(job: Job) -> CheckpointManifest:
    """The newest checkpoint of the run; where there is none, the one that training starts from is published.

    It is drawn from the seed, or holds ``encoder.pretrained``, and records the old encoder of a harmonic run. Whoever
    comes first, a miner or a trainer, publishes it.

    Raises:
        InputError: The checkpoint has another architecture or old encoder than the config, or the encoder does not
            take what the corpus holds.
    """
    config, workspace, corpus = job.config, job.workspace, job.corpus
    _check_fit(config, corpus)
    dataset = checkpoints(workspace)
    latest = dataset.latest()
    if latest is None:
        start = pretrained_encoder(config.encoder, config.transform, config.seed, workspace, corpus.fingerprint)
        contents = CheckpointContents(0, start, corpus.fingerprint, choose_old(job))
        latest, _ = save_checkpoint(dataset, config, contents)
    elif latest.encoder.pretrained != config.encoder.pretrained:
        log(f"note: run {config.run!r} has checkpoint {latest.step} already: encoder.pretrained is not read")
    check_old(config, latest)
    load_encoder(dataset, latest, config.encoder, config.transform, "cpu")
    if latest.corpus_fingerprint != corpus.fingerprint and latest.step > 0:
        log(
            f"note: checkpoint {latest.step} was trained on another corpus or split than the newest one, "
            "and may have seen labels that are test labels now"
        )
    return latest


def _check_fit(config: RunConfig, corpus: Corpus) -> None:
    """Refuses an encoder that is known to take something else than what the corpus holds."""
    name, payload, dim = config.encoder.name, corpus.payload, corpus.manifest.vector_dim
    taken = payload_taken(name)
    if taken not in (None, payload.name):
        advice = "set encoder.name identity to mine the vectors as they are" if payload.is_derived else "name a network"
        raise InputError(
            f"the corpus holds {payload.plural}, but encoder.name {name!r} takes {payload_of(taken).plural}: {advice}"
        )
    if name == "identity" and dim != config.encoder.embedding_dim:
        raise InputError(f"the corpus holds vectors of length {dim}: set encoder.embedding_dim {dim}")
