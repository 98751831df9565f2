"""The actor that measures: a refresh's work on a stretch of the corpus, timed while its siblings do the same."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.embeddings.encode import encode
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.registry import initial_encoder
from pipeline.errors import InputError
from pipeline.mining.shards import Shard
from pipeline.planning.measure.search_rates import Searched, computing_clock, measure_searches, timed
from pipeline.planning.rates import EmbedRates
from pipeline.runtime.remote import Reference, put
from pipeline.stages.mine.shard_loader import collect_shard
from pipeline.stages.mine.worker import RefreshWorker
from pipeline.stages.node_facts import NodeFacts, look_at_node, resident_bytes
from pipeline.storage.workspace import Workspace

_EMBED_BUDGET_S = 3.0
_DECODED = 256  # contents of a part whose decoding is timed apart


@dataclass(frozen=True)
class Embedded:
    """What one actor measured of a stretch of the corpus, up to the shard that is searched.

    Attributes:
        start_s: Opening the corpus, loading the encoder, the first batch.
        idle_bytes: Resident, ready for work.
        facts: Of its node.
        embed: Rates.
        load_s: Of making a shard, per example.
        shard: Reference to it, in Ray's shared memory.
    """

    start_s: float
    idle_bytes: int
    facts: NodeFacts
    embed: EmbedRates
    load_s: float
    shard: Reference


@dataclass(frozen=True)
class Stretch:
    """What one actor measured of searching a stretch.

    Attributes:
        searched: Rates.
        peak_bytes: Resident at the most, without the vectors.
        gpu_bytes: Peak on the GPU.
    """

    searched: Searched
    peak_bytes: int
    gpu_bytes: int


class RateWorker(RefreshWorker):
    """Measures."""

    def ping(self) -> None:
        """Does nothing: what that takes is a task's own time."""

    def embed_stretch(self, scratch: Workspace, step: int | None, first_part: int, num_wanted: int) -> Embedded:
        """Embeds a stretch of the corpus, and loads it as a refresh does.

        Args:
            scratch: Where embeddings may be written.
            step: The checkpoint that encodes; None: the initial encoder, where none is published yet.
            first_part: Where the stretch begins.
            num_wanted: Examples that it should have; it has fewer where encoding them takes longer than a few seconds.

        Raises:
            InputError: The stretch holds no training example.
        """
        start_s, _ = timed(lambda: self._warm_up(step, first_part))
        idle_bytes = resident_bytes()
        parts = EmbeddingParts(scratch, f"{first_part:06d}")
        embed, numbers = self._embed_parts(parts, first_part, num_wanted)
        load_s, shard = timed(lambda: put(self._load_parts(parts, numbers)))
        num_examples = sum(len(self._corpus.part_ids(part)) for part in numbers)
        facts = look_at_node(self._config.cluster.cache_dir)
        return Embedded(start_s, idle_bytes, facts, embed, load_s / num_examples, shard)

    def search_stretch(self, backend: str, shard: Shard) -> Stretch:
        """Searches a stretch, as it was loaded: a read-only view of Ray's shared memory, as in a refresh.

        Raises:
            InputError: The stretch holds no triplet.
        """
        searched = measure_searches(shard, self._config, backend)
        gpu_bytes = torch.cuda.max_memory_allocated() if self._device == "cuda" else 0
        return Stretch(searched, max(0, resident_bytes(peak=True) - shard.vectors_ND.nbytes), gpu_bytes)

    def _warm_up(self, step: int | None, part: int) -> None:
        config = self._config
        if step is None:
            untrained = initial_encoder(config.encoder, config.transform, config.seed).eval().to(self._device)
            self._encoder = ((config.run, 0), config, untrained)
        config, encoder = self._load(config.run, step or 0)
        contents, to_input = self._inputs(part, config)
        encode(encoder, contents[: config.embed.batch_size], to_input, config.embed, self._device)

    def _embed_parts(self, parts: EmbeddingParts, first: int, num_wanted: int) -> tuple[EmbedRates, list[int]]:
        """Encodes part after part; returns the rates, and the parts."""
        assert self._encoder is not None
        (_, config, encoder), embed = self._encoder, self._config.embed
        clock = computing_clock(self._config.cluster)
        seconds = dict.fromkeys(("read", "decode", "encode", "write"), 0.0)
        numbers: list[int] = []
        num_examples, begun = 0, time.perf_counter()
        while num_examples < num_wanted and len(numbers) < self._corpus.num_parts:
            part = (first + len(numbers)) % self._corpus.num_parts
            span = self._corpus.part_ids(part)
            took: dict[str, float] = {}
            took["read"], (contents, to_input) = timed(lambda: self._inputs(part, config))  # noqa: B023 — at once
            some = contents[:_DECODED]
            decoding_s, _ = timed(lambda: [to_input(content) for content in some], clock=clock)  # noqa: B023
            took["decode"] = decoding_s * len(contents) / len(some)
            asked = (encoder, contents, to_input, embed, self._device)
            encoding_s, vectors = timed(lambda: encode(*asked), clock=clock)  # noqa: B023
            took["encode"] = max(0.0, encoding_s - took["decode"])
            took["write"], _ = timed(lambda: parts.write(part, span.start, vectors, embed.dtype))  # noqa: B023
            for name, value in took.items():
                seconds[name] += value
            numbers.append(part)
            num_examples += len(span)
            if time.perf_counter() - begun > _EMBED_BUDGET_S:
                break
        prefix = parts.workspace.embeddings_prefix(parts.key)
        stored = sum(entry.num_bytes for entry in parts.workspace.store.entries(prefix))
        each = {f"{name}_s_per_example": value / num_examples for name, value in seconds.items()}
        return EmbedRates(**each, stored_bytes_per_example=stored / num_examples), sorted(numbers)

    def _load_parts(self, parts: EmbeddingParts, numbers: list[int]) -> Shard:
        """Reads it back as a shard, with what the audit asks of it."""
        spans = [self._corpus.part_ids(part) for part in numbers]
        stored = (
            (np.arange(span.start, span.stop, dtype=np.int64), parts.read(part, span.start, len(span)))
            for part, span in zip(numbers, spans, strict=True)
        )
        embed, num_dims = self._config.embed, self._config.encoder.embedding_dim
        shard, _ = collect_shard(self._corpus, stored, np.empty((sum(map(len, spans)), num_dims), dtype=embed.dtype))
        if not len(shard):
            raise InputError(f"parts {numbers} of the corpus hold no training example to measure with: prepare more")
        return shard
