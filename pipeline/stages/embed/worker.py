"""What every actor of the pool can do: embed a part of the corpus with a checkpoint."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import threadpoolctl
import torch

from pipeline.config import RunConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.corpus.transform import Transform
from pipeline.embeddings.encode import encode
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import checkpoints, config_of, load_encoder
from pipeline.evaluation.robustness.perturbations import Perturbation
from pipeline.storage.retired import read_even_retired
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

        Args:
            config: The run.
            corpus_number: The corpus that the job has pinned.
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
        payloads, transform = self._inputs(part, config)
        embed = config.embed
        vectors = encode(encoder, payloads, transform, embed, self._device)
        parts = EmbeddingParts(self._workspace, key)
        parts.write(part, self._corpus.part_ids(part).start, vectors, embed.dtype)
        return len(vectors)

    def _inputs(self, part: int, config: RunConfig) -> tuple[list[Any], Callable[[Any], npt.NDArray[Any]]]:
        """The payloads of a part, and what makes the encoder's input of one."""
        table = self._corpus.read_part(part)
        if self._corpus.manifest.payload == "image":
            return [value["bytes"].as_py() for value in table["image"]], Transform(config.transform)
        return [value.values.to_numpy() for value in table["vector"]], np.asarray

    def embed_perturbed(
        self, run: str, step: int, ids: npt.NDArray[np.int64], perturbation: Perturbation
    ) -> npt.NDArray[np.float32]:
        """Encodes a few examples, each perturbed in the same way every time; stores nothing."""
        config, encoder = self._load(run, step)
        transform, cache = Transform(config.transform), self._cache

        def load(example: int) -> npt.NDArray[np.float32]:
            payload = cache.payload(example)
            return transform(payload, lambda image: perturbation.apply(image, example))  # type: ignore[arg-type]

        embed = config.embed
        return encode(encoder, ids.tolist(), load, embed, self._device)

    @functools.cached_property
    def _cache(self) -> ExampleCache:
        return ExampleCache(self._corpus, self._config.cluster.cache_dir, self._config.cluster.cache_gib)

    def _load(self, run: str, step: int) -> tuple[RunConfig, torch.nn.Module]:
        if self._encoder is None or self._encoder[0] != (run, step):
            publication = checkpoints(Workspace(self._workspace.store, run))
            manifest = read_even_retired(publication, step)
            config = config_of(manifest, self._config)
            encoder = load_encoder(publication, manifest, config.encoder, config.transform, self._device)
            self._encoder = ((run, step), config, encoder)
        return self._encoder[1:]
