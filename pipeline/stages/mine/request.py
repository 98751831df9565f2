"""What a refresh is asked for, whether its generation stands already, and who is at it."""

import hashlib
from dataclasses import dataclass
from typing import Self

from pipeline.config import RunConfig
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.mining.backends.registry import resolve_backend
from pipeline.stages.embed.mixture import sample_seed
from pipeline.stages.embed.stage import key_of
from pipeline.stages.job import Job
from pipeline.storage.leases import Lease
from pipeline.storage.locks import acquire_or_wait, wait_for_holder
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest


@dataclass(frozen=True)
class RefreshRequest:
    """One refresh, resolved: everything that its generation depends on.

    Attributes:
        job: Its config has the curriculum of the checkpoint's step applied.
        checkpoint: Whose embeddings are mined.
        backend: As ``resolve_backend`` gave it.
        embeddings_key: Under which the corpus's embeddings by this checkpoint are kept.
        key: Equal keys, equal triplets. Where a warm start of a sample (or of an approximate index) brings what the
            generation before knew, the triplets also depend on that generation, which the manifest names.
    """

    job: Job
    checkpoint: CheckpointManifest
    backend: str
    embeddings_key: str
    key: str

    @classmethod
    def resolve(cls, job: Job, checkpoint: CheckpointManifest) -> Self:
        """The refresh of a job from a checkpoint.

        Raises:
            InputError: The backend cannot be had.
        """
        config = job.config.at_step(checkpoint.step)
        backend = resolve_backend(config.mining, config.cluster.actor_device)
        mining = config.mining.model_copy(update={"backend": backend})
        embeddings_key = key_of(config, job.corpus, checkpoint)
        texts = [embeddings_key, mining.digest(), str(config.seed)]
        if checkpoint.harmonic is not None and config.harmonic is not None:
            texts += [checkpoint.harmonic.digest(), str(config.harmonic.mined_share)]
        key = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        return cls(job.with_config(config), checkpoint, backend, embeddings_key, key)

    @property
    def config(self) -> RunConfig:
        """The run, with the curriculum applied."""
        return self.job.config

    @property
    def sample_seed(self) -> int:
        """Seeds what this pass draws: candidates, verified anchors, who stands with an old vector."""
        return sample_seed(self.config.seed, self.checkpoint.step)

    def find_generation(self) -> GenerationManifest | None:
        """The generation that this refresh would publish, if it stands already."""
        for manifest in generations(self.job.workspace).newest_first():
            if manifest.refresh_key == self.key:
                return manifest
            if manifest.checkpoint_step < self.checkpoint.step:
                return None
        return None

    def acquire(self) -> GenerationManifest | Lease:
        """The generation, once it exists; or the lease to make it, if no other job holds that."""
        workspace = self.job.workspace
        return acquire_or_wait(
            workspace,
            self._lock_name,
            f"refresh of run {workspace.run!r} from checkpoint {self.checkpoint.step}",
            self.find_generation,
            self.job.corpus.manifest_key,
            checkpoints(workspace).manifest_key(self.checkpoint.step),
        )

    def await_generation(self) -> GenerationManifest | None:
        """The generation, once it exists; None if it does not and no job is making it."""
        return wait_for_holder(self.job.workspace, self._lock_name, self.find_generation)

    @property
    def _lock_name(self) -> str:
        return f"refresh-{self.key[:32]}"
