"""A corpus of small images, checkpoints, embeddings, and a generation that was mined from them."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import torch

from pipeline.config import BandConfig, EncoderConfig, MiningConfig, RunConfig, TransformConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.transform import Transform
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import checkpoints, load_encoder
from pipeline.encoders.registry import initial_encoder
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.mining.in_memory import mine_whole
from pipeline.mining.shards import Shard
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import TRIPLETS, GenerationManifest, to_arrow
from pipeline.triplets.writer import TRIPLET_ENCODINGS, serialise
from tests.unit.corpus.samples import faces, folder_config, run_prepare, write_folder
from tests.unit.encoders.samples import checkpoint
from tests.unit.inspection.report_samples import publish_generation

ENCODER = EncoderConfig(name="tests.unit.encoders.own_networks:FlatLinear", embedding_dim=8)
TRANSFORM = TransformConfig(height=8, width=8)
KEY = "e" * 32
"""Of the embeddings, as the samples' manifests have it."""
NUM_LABELS, PER_LABEL = 12, 4

Columns = dict[str, npt.NDArray[Any]]
"""The rows of a shard."""


def run_config(workspace: Workspace, folder: Path) -> RunConfig:
    """The run of the samples; its cache lies in the folder."""
    document: dict[str, Any] = {"workspace": workspace.store.uri, "cluster": {"cache_dir": str(folder / "cache")}}
    return RunConfig.model_validate(document | {"encoder": ENCODER, "transform": TRANSFORM, "seed": 3})


def prepared(uri: str, folder: Path) -> tuple[Workspace, Corpus]:
    """48 images of 12 labels, of which some are kept for evaluation, in parts of ten."""
    workspace = Workspace.open(uri, "main")
    files = write_folder(folder / "faces", faces(NUM_LABELS, PER_LABEL))
    run_prepare(folder_config(files, examples_per_part=10, test_fraction=0.2), workspace)
    corpus = Corpus.open(workspace)
    assert 0 < corpus.is_test.sum() < corpus.num_examples / 2
    return workspace, corpus


def save(workspace: Workspace, step: int, generation: int | None = None, **metrics: float) -> None:
    """Publishes a checkpoint with weights of its own."""
    encoder, config = initial_encoder(ENCODER, TRANSFORM, step), RunConfig(encoder=ENCODER, transform=TRANSFORM)
    checkpoint(workspace, step, encoder, config, generation=generation, metrics=metrics)


def embedded(workspace: Workspace, corpus: Corpus, step: int) -> npt.NDArray[np.float32]:
    """All examples under a checkpoint, one by one, (N, D)."""
    dataset, transform = checkpoints(workspace), Transform(TRANSFORM)
    encoder = load_encoder(dataset, dataset.read(step), ENCODER, TRANSFORM, "cpu")
    images = [
        transform(one["bytes"].as_py()) for part in range(corpus.num_parts) for one in corpus.read_part(part)["image"]
    ]
    with torch.inference_mode():
        return np.concatenate([encoder(torch.from_numpy(image[None])).numpy() for image in images])


def mined(
    uri: str,
    folder: Path,
    *,
    band: Mapping[str, Any] | None = None,
    rows_per_shard: int = 32,
    dtype: str = "float32",
    **changes: Any,  # noqa: ANN401 — fields of all types
) -> OpenGeneration:
    """A generation mined from checkpoint 0, whose embeddings are stored."""
    workspace, corpus = prepared(uri, folder)
    save(workspace, 0)
    vectors_ND = embedded(workspace, corpus, 0).astype(dtype)
    for part in range(corpus.num_parts):
        ids = corpus.part_ids(part)
        EmbeddingParts(workspace, KEY).write(part, ids.start, vectors_ND[ids.start : ids.stop], dtype)  # type: ignore[arg-type]
    mining = MiningConfig(backend="reference", band=BandConfig(**band or {}))
    train = np.flatnonzero(~corpus.is_test)
    triplets = mine_whole(Shard(train, corpus.labels[train], vectors_ND[train]), mining)
    return publish_generation(workspace, 0, to_arrow(triplets), rows_per_shard=rows_per_shard, mining=mining, **changes)


def all_triplets(generation: OpenGeneration) -> pd.DataFrame:
    """The whole generation, for an oracle."""
    reader = generation.reader
    shards = [reader.shard(index) for index in range(reader.num_shards)]
    return pd.DataFrame({name: np.concatenate([shard[name].to_numpy() for shard in shards]) for name in TRIPLETS.names})


def rewrite(generation: OpenGeneration, key: str, data: bytes, **changes: Any) -> OpenGeneration:  # noqa: ANN401
    """Replaces a part, and has the manifest promise what is there now: only predicates can tell."""
    manifest, store = generation.manifest, generation.workspace.store
    digest = hashlib.sha256(data).hexdigest()
    parts = tuple(
        part.model_copy(update={"num_bytes": len(data), "sha256": digest, **changes}) if part.key == key else part
        for part in manifest.parts
    )
    store.put(key, data)
    return with_manifest(generation, parts=parts)


def with_manifest(generation: OpenGeneration, **changes: Any) -> OpenGeneration:  # noqa: ANN401
    """Replaces what the manifest says."""
    manifest: GenerationManifest = generation.manifest.model_copy(update=changes)
    key = generations(generation.workspace).manifest_key(manifest.number)
    generation.workspace.store.put(key, manifest.model_dump_json().encode())
    return open_generation(generation.workspace, manifest.number)


def tampered(generation: OpenGeneration, change: Callable[[Columns], None], shard: int = 0) -> OpenGeneration:
    """Changes a shard's columns in place, and the manifest's digest with them."""
    part = generation.manifest.parts_of("triplets")[shard]
    table = generation.reader.shard(shard)
    columns = {name: table[name].to_numpy().copy() for name in TRIPLETS.names}
    change(columns)
    return rewrite(generation, part.key, serialise(pa.table(columns, schema=TRIPLETS), TRIPLET_ENCODINGS))
