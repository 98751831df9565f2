"""A small real corpus to train on and to encode: glyphs, drawn into a workspace that is thrown away."""

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.arrays import Float32Array
from pipeline.config import CorpusConfig, GlyphsConfig, RunConfig, SourceConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.ingest import prepare
from pipeline.corpus.payloads import Content
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.encode import encode
from pipeline.encoders.registry import initial_encoder
from pipeline.errors import InputError
from pipeline.mining.in_memory import mine_whole
from pipeline.mining.shards import Shard
from pipeline.stages.train.generation_selector import in_memory_shard
from pipeline.storage.workspace import Workspace
from pipeline.training.dataset import LoadExample
from pipeline.training.label_index import LabelIndex
from pipeline.training.triplet_shard import TripletShard


@dataclass(frozen=True)
class Examples:
    """What is trained on and encoded.

    Attributes:
        config: The run; its transform and encoder are used.
        corpus: Glyphs, all for training.
        cache: Their encoded images, in mapped files as a training worker has them.
        inputs_N: All of them decoded, float32, shape (N, C, H, W).
    """

    config: RunConfig
    corpus: Corpus
    cache: ExampleCache
    inputs_N: Float32Array

    @property
    def label_index(self) -> LabelIndex:
        """The examples by label."""
        return LabelIndex(np.arange(self.corpus.num_examples), self.corpus.labels)

    @property
    def contents(self) -> list[Content]:
        """The encoded images."""
        return [self.cache.content(example) for example in range(self.corpus.num_examples)]

    @functools.cached_property
    def decode(self) -> LoadExample:
        """Reads and decodes an image: what a training worker does."""
        return self.cache.loader(self.config.transform)

    def recall(self, example: int) -> Float32Array:
        """An image that was decoded before."""
        image: Float32Array = self.inputs_N[example]
        return image

    def mine(self) -> TripletShard:
        """The triplets that the untrained encoder gives: those of a run's first round."""
        config, corpus = self.config, self.corpus
        mining = config.mining.model_copy(update={"backend": "auto"})
        device = config.training.device
        encoder = initial_encoder(config.encoder, config.transform, config.seed).eval().to(device)
        vectors = encode(encoder, range(corpus.num_examples), self.recall, config.embed, device)
        ids = np.arange(corpus.num_examples)
        triplets = mine_whole(Shard(ids, corpus.labels, vectors), mining, config.seed, config.seed)
        return in_memory_shard(0, triplets, corpus, mining.neighbours_per_label)


@contextmanager
def glyph_examples(config: RunConfig, num_labels: int) -> Iterator[Examples]:
    """Draws glyphs of the size that the transform wants, as PNG, at most 12 a label, and decodes them once.

    Raises:
        InputError: The run's encoder takes no images.
    """
    if config.encoder.name == "identity":
        raise InputError("encoder.name identity has nothing to train or compute: name an encoder of images")
    side = round(max(config.transform.height, config.transform.width) / config.transform.crop)
    glyphs = GlyphsConfig(max_labels=num_labels, image_size=min(max(side, 16), 256), seed=config.seed)
    source = CorpusConfig(source=SourceConfig(glyphs=glyphs), test_fraction=0.0)
    with tempfile.TemporaryDirectory(prefix="motherlode-benchmark-") as folder:
        workspace = Workspace.open(str(Path(folder) / "workspace"), "benchmark")
        prepare(source, workspace, config.seed, config.digest())
        corpus = Corpus.open(workspace)
        cache = ExampleCache(corpus, Path(folder) / "cache")
        shape = (corpus.num_examples, config.transform.channels, config.transform.height, config.transform.width)
        examples = Examples(config, corpus, cache, np.empty(shape, dtype=np.float32))
        for example in range(corpus.num_examples):
            examples.inputs_N[example] = examples.decode(example)
        yield examples
