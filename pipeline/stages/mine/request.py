"""What a refresh is asked for, whether that stands already, and who is at it."""

import hashlib

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.mining.miner import resolve_backend
from pipeline.stages.embed.stage import key_of
from pipeline.storage.leases import Lease
from pipeline.storage.locks import acquire_or_wait, wait_for_holder
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest


def refresh_key(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """What a generation is asked for: equal keys, equal triplets.

    Where a warm start of a sample (or of an approximate index) brings what the generation before knew, the triplets
    also depend on that generation, which the manifest names.
    """
    mining = config.at_step(checkpoint.step).mining
    mining = mining.model_copy(update={"backend": resolve_backend(mining, config.cluster.actor_device)})
    texts = [key_of(config, corpus, checkpoint), mining.digest(), str(config.seed)]
    if checkpoint.harmonic is not None and config.harmonic is not None:
        texts += [checkpoint.harmonic.digest(), str(config.harmonic.mined_share)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def find_generation(
    config: RunConfig, workspace: Workspace, corpus: Corpus, checkpoint: CheckpointManifest
) -> GenerationManifest | None:
    """The generation that a refresh from this checkpoint would publish, if it stands already."""
    key = refresh_key(config, corpus, checkpoint)
    for manifest in generations(workspace).newest_first():
        if manifest.refresh_key == key:
            return manifest
        if manifest.checkpoint_step < checkpoint.step:
            return None
    return None


def acquire_refresh(
    config: RunConfig, workspace: Workspace, corpus: Corpus, checkpoint: CheckpointManifest
) -> GenerationManifest | Lease:
    """The generation, once it exists; or the lease to make it, if no other job holds that."""
    return acquire_or_wait(
        workspace,
        _name(config, corpus, checkpoint),
        f"refresh of run {workspace.run!r} from checkpoint {checkpoint.step}",
        lambda: find_generation(config, workspace, corpus, checkpoint),
        corpus.manifest_key,
        checkpoints(workspace).manifest_key(checkpoint.step),
    )


def await_generation(
    config: RunConfig, workspace: Workspace, corpus: Corpus, checkpoint: CheckpointManifest
) -> GenerationManifest | None:
    """The generation, once it exists; None if it does not and no job is making it."""
    name = _name(config, corpus, checkpoint)
    return wait_for_holder(workspace, name, lambda: find_generation(config, workspace, corpus, checkpoint))


def _name(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    return f"refresh-{refresh_key(config, corpus, checkpoint)[:32]}"
