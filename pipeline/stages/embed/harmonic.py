"""The old encoder of a harmonic run: which it is, its vectors, and which examples stand with them in mining.

A run's first checkpoint records which old checkpoint it is to be comparable with; whatever comes later reads it there,
so that a name such as RUN (its newest) means the same one from the first step to the last.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.arrays import FloatArray
from pipeline.config import OldEncoder, RunConfig
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoint_names import find_checkpoint
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, config_of, load_encoder
from pipeline.errors import InputError, UnavailableError
from pipeline.progress import log
from pipeline.stages.embed.mixture import Mixture, check_usable
from pipeline.stages.embed.stage import embed, key_of, missing_parts
from pipeline.stages.embed.worker import EncodePool
from pipeline.stages.job import Job
from pipeline.storage.workspace import Workspace

_POLL_INTERVAL_S = 0.5


def choose_old(job: Job) -> OldEncoder | None:
    """The old encoder that the config names, for a run that begins; None where it names none.

    Raises:
        InputError: There is no such checkpoint, its embeddings are of another length, or its network cannot be built.
    """
    config, workspace, wanted = job.config, job.workspace, job.config.harmonic
    if wanted is None:
        return None
    _, old = find_checkpoint(wanted.checkpoint, workspace, "harmonic.checkpoint")
    theirs, ours = old.encoder.embedding_dim, config.encoder.embedding_dim
    if theirs != ours:
        raise InputError(
            f"the embeddings of harmonic.checkpoint {wanted.checkpoint!r} have length {theirs}, and "
            f"encoder.embedding_dim is {ours}: vectors of two lengths cannot be compared; set encoder.embedding_dim "
            f"{theirs}"
        )
    as_old = config_of(old, config)
    load_encoder(checkpoints(Workspace(workspace.store, wanted.run)), old, as_old.encoder, as_old.transform, "cpu")
    if old.step > 0 and old.corpus_fingerprint != job.corpus.fingerprint:
        log(
            f"note: the old encoder, run {wanted.run!r} step {old.step}, was trained on another corpus or split than "
            "the newest one, and may have seen labels that are test labels now"
        )
    return OldEncoder(run=wanted.run, step=old.step, weights_digest=old.weights_digest)


def check_old(config: RunConfig, checkpoint: CheckpointManifest) -> None:
    """Refuses to go on with a run under another old encoder than it began with.

    Raises:
        InputError: The config names another one than the run's checkpoint, or only one of them names any.
    """
    wanted, trained = config.harmonic, checkpoint.harmonic
    if wanted is None or trained is None:
        is_same = wanted is None and trained is None
    else:
        is_same = wanted.run == trained.run and wanted.step in (None, trained.step)
    if is_same:
        return
    asked = "none" if wanted is None else repr(wanted.checkpoint)
    began = "without one" if trained is None else f"with '{trained}'"
    raise InputError(
        f"harmonic.checkpoint is {asked}, but run {config.run!r} began {began}: use what it began with, or another "
        f"--run (which may start from these weights: --encoder.pretrained {config.run}:{checkpoint.step})"
    )


def open_old(workspace: Workspace, old: OldEncoder) -> tuple[Workspace, CheckpointManifest]:
    """The place and the manifest of the old encoder.

    Raises:
        InputError: It is not there any more.
    """
    place = Workspace(workspace.store, old.run)
    dataset = checkpoints(place)
    manifest = dataset.read(old.step) if old.step in dataset.numbers() else None
    if manifest is None or manifest.weights_digest != old.weights_digest:
        raise InputError(
            f"the old encoder '{old}' that run {workspace.run!r} is trained to be comparable with is not in "
            f"{workspace.store.uri} any more: restore it, or begin another --run"
        )
    return place, manifest


def embed_old(pool: EncodePool, job: Job, checkpoint: CheckpointManifest) -> Mixture | None:
    """Embeds the corpus with the old encoder of a run's checkpoint, unless that is done; None where it has none."""
    if checkpoint.harmonic is None or job.config.harmonic is None:
        return None
    place, old = open_old(job.workspace, checkpoint.harmonic)
    key = key_of(job.config, job.corpus, old)
    embed(pool, replace(job, workspace=place), old, key)
    return Mixture(key, job.config.harmonic.mined_share)


def old_key(job: Job, checkpoint: CheckpointManifest) -> str | None:
    """The key of what ``embed_old`` embeds."""
    if checkpoint.harmonic is None or job.config.harmonic is None:
        return None
    return key_of(job.config, job.corpus, open_old(job.workspace, checkpoint.harmonic)[1])


def lacks_old_vectors(job: Job, checkpoint: CheckpointManifest) -> bool:
    """Whether vectors by the old encoder of a run's checkpoint have yet to be made."""
    if checkpoint.harmonic is None:
        return False
    place, old = open_old(job.workspace, checkpoint.harmonic)
    return bool(missing_parts(place, job.corpus, key_of(job.config, job.corpus, old)))


def wait_for_old_vectors(job: Job, old: OldEncoder, tell: Callable[[str], None]) -> FloatArray:
    """All examples' vectors by the old encoder, as they were stored, at the place of their ids; shape (N, D).

    ``tell`` is called with words for people while a miner has yet to make them.

    Raises:
        UnavailableError: They did not appear within ``training.generation_timeout_s``.
        InputError: A training example has none that could be compared with.
    """
    config, corpus = job.config, job.corpus
    place, manifest = open_old(job.workspace, old)
    key, start = key_of(config, corpus, manifest), time.monotonic()
    while missing_parts(place, corpus, key):
        waited = time.monotonic() - start
        if waited > config.training.generation_timeout_s:
            raise UnavailableError(
                f"the vectors of the old encoder '{old}' did not appear for {waited:.0f} s "
                "(training.generation_timeout_s): run jobs.mine on this workspace, run, corpus and config (embed and "
                "cluster.*_per_actor too)"
            )
        tell(f"waiting for the vectors of the old encoder '{old}' (jobs.mine)")
        time.sleep(_POLL_INTERVAL_S)
    vectors = np.empty((corpus.num_examples, manifest.encoder.embedding_dim), dtype=config.embed.dtype)
    parts = EmbeddingParts(place, key)
    for part in range(corpus.num_parts):
        ids = corpus.part_ids(part)
        vectors[ids.start : ids.stop] = parts.read(part, ids.start, len(ids))
    train_ids = np.flatnonzero(~corpus.is_test)
    check_usable(train_ids, vectors[train_ids])
    return vectors
