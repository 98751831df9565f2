"""What every actor of the pool can do: embed a part of the corpus with a checkpoint."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import threadpoolctl
import torch

from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.payloads import ToInput
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.encode import encode
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import checkpoints, config_of, load_encoder
from pipeline.evaluation.robustness.perturbations import Perturbation
from pipeline.runtime.actor_pool import ActorPool
from pipeline.storage.tombstones import read_or_tombstone
from pipeline.storage.workspace import Workspace


def limit_gpu_memory(gpus: float) -> None:
    """Keeps this process to its part of a GPU that it shares, so that it cannot starve the others of memory."""
    if 0.0 < gpus < 1.0:
        torch.cuda.set_per_process_memory_fraction(gpus)


class EncodeWorker:
    """Holds what is worth keeping between calls: the corpus's labels and one encoder."""

    def __init__(self, config: RunConfig, corpus_number: int) -> None:
        """Sets the number of threads before any is started.

        Nothing is opened here: an error in an actor's constructor would reach the driver as a dead actor.
        """
        torch.set_num_threads(config.cluster.threads_per_actor)
        self._limits = threadpoolctl.threadpool_limits(config.cluster.threads_per_actor)
        self._config, self._corpus_number = config, corpus_number
        self._device = config.cluster.actor_device
        limit_gpu_memory(config.cluster.gpus_per_actor)
        self._encoder: tuple[tuple[str, int], RunConfig, torch.nn.Module] | None = None

    @functools.cached_property
    def _workspace(self) -> Workspace:
        return Workspace.open(self._config.workspace, self._config.run)

    @functools.cached_property
    def _corpus(self) -> Corpus:
        return Corpus.open(self._workspace, self._corpus_number)

    def embed_part(self, run: str, step: int, key: str, part: int) -> int:
        """Encodes one part of the corpus with a checkpoint and stores it; returns its number of examples.

        The checkpoint may be of another run and architecture than the config: its own preprocessing is taken too.
        """
        config, encoder = self._load(run, step)
        vectors = encode(encoder, *self._inputs(part, config), config.embed, self._device)
        parts = EmbeddingParts(self._workspace, key)
        parts.write(part, self._corpus.part_ids(part).start, vectors, config.embed.dtype)
        return len(vectors)

    def _inputs(self, part: int, config: RunConfig) -> tuple[list[Any], ToInput[Any]]:
        """The contents of a part, and what makes the encoder's input of one."""
        payload = self._corpus.payload
        return payload.contents(self._corpus.read_part(part)), payload.to_input(config.transform)

    def embed_perturbed(
        self, run: str, step: int, ids: npt.NDArray[np.int64], perturbation: Perturbation
    ) -> npt.NDArray[np.float32]:
        """Encodes a few examples, each perturbed in the same way every time; stores nothing."""
        config, encoder = self._load(run, step)
        load = self._cache.loader(config.transform, perturbation.apply)
        return encode(encoder, ids.tolist(), load, config.embed, self._device)

    @functools.cached_property
    def _cache(self) -> ExampleCache:
        return ExampleCache.of(self._corpus, self._config.cluster)

    def _load(self, run: str, step: int) -> tuple[RunConfig, torch.nn.Module]:
        if self._encoder is None or self._encoder[0] != (run, step):
            dataset = checkpoints(Workspace(self._workspace.store, run))
            manifest = read_or_tombstone(dataset, step)
            config = config_of(manifest, self._config)
            encoder = load_encoder(dataset, manifest, config.encoder, config.transform, self._device)
            self._encoder = ((run, step), config, encoder)
        return self._encoder[1:]


EncodePool = ActorPool[EncodeWorker]
