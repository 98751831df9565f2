"""The checkpoint that a job works with: the newest of its run, or the one that training starts from."""

from pipeline.encoders.checkpoints import (
    CheckpointContents,
    CheckpointManifest,
    checkpoints,
    load_encoder,
    save_checkpoint,
)
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.encoders.registry import takes_images
from pipeline.errors import InputError
from pipeline.progress import say
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
    if corpus.manifest.payload == "vector" and takes_images(config.encoder.name):
        raise InputError(
            f"the corpus holds vectors, but encoder.name {config.encoder.name!r} takes images: "
            "set encoder.name identity to mine the vectors as they are"
        )
    dim = corpus.manifest.vector_dim
    if config.encoder.name == "identity" and dim not in (None, config.encoder.embedding_dim):
        raise InputError(f"the corpus holds vectors of length {dim}: set encoder.embedding_dim {dim}")
    if corpus.manifest.payload == "image" and config.encoder.name == "identity":
        raise InputError("the corpus holds images, but encoder.name 'identity' takes vectors: name a network")
    dataset = checkpoints(workspace)
    latest = dataset.latest()
    if latest is None:
        start = pretrained_encoder(config.encoder, config.transform, config.seed, workspace, corpus.fingerprint)
        contents = CheckpointContents(0, start, corpus.fingerprint, choose_old(job))
        latest, _ = save_checkpoint(dataset, config, contents)
    elif latest.encoder.pretrained != config.encoder.pretrained:
        say(f"note: run {config.run!r} has checkpoint {latest.step} already: encoder.pretrained is not read")
    check_old(config, latest)
    load_encoder(dataset, latest, config.encoder, config.transform, "cpu")
    if latest.corpus_fingerprint != corpus.fingerprint and latest.step > 0:
        say(
            f"note: checkpoint {latest.step} was trained on another corpus or split than the newest one, "
            "and may have seen labels that are test labels now"
        )
    return latest
