"""A small finished run: a corpus, generations, checkpoints with their steps, evaluations, refusals."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import CorpusConfig, EncoderConfig, MiningConfig, RunConfig, TransformConfig
from pipeline.corpus.reader import Corpus
from pipeline.inspection.generation import OpenGeneration
from pipeline.mining.triplets import Triplets
from pipeline.stages.train.round_statistics import STEPS
from pipeline.storage.workspace import Workspace
from pipeline.triplets.neighbours import NeighbourTally
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import QUARANTINE, count_kinds, to_arrow
from pipeline.triplets.writer import TripletWriter, add_side_tables, serialise
from tests.unit.corpus.samples import parquet_config, png, run_prepare, write_vectors
from tests.unit.encoders.samples import checkpoint
from tests.unit.triplets.samples import manifest_of

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror="alert(2)">\''
TEMPLATE = "{{ 7 * 7 }}{% raw %}"
LABELS = (SCRIPT, IMAGE, TEMPLATE, "Ada & Zoë")
"""Of examples 0 to 11, three of each."""
PER_LABEL = 3
STEPS_PER_ROUND = 4

Suspect = Mapping[str, Any]
BLANK: Suspect = dict.fromkeys(QUARANTINE.names)


def image_corpus(folder: Path, labels: Sequence[str] = LABELS, image_size: int = 60) -> CorpusConfig:
    """Coloured noise, in parts of five examples."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [label for label in labels for _ in range(PER_LABEL)]
    images = [{"bytes": png(seed, image_size), "path": f"{name[:40]}/{seed}.png"} for seed, name in enumerate(names)]
    pq.write_table(pa.table({"label": names, "image": images}), folder / "images.parquet")
    return parquet_config(folder / "images.parquet", examples_per_part=5)


def vector_corpus(folder: Path, labels: Sequence[str] = LABELS) -> CorpusConfig:
    """Unit vectors whose own ids are ``v0``, ``v1`` …"""
    folder.mkdir(parents=True, exist_ok=True)
    names = [label for label in labels for _ in range(PER_LABEL)]
    vectors = [row.tolist() for row in np.eye(len(names), dtype=np.float32)]
    file = write_vectors(folder / "vectors.parquet", vectors, names, id=[f"v{row}" for row in range(len(names))])
    return parquet_config(file)


def prepared(place: Path, labels: Sequence[str] = LABELS, uri: str | None = None) -> Workspace:
    """A workspace with the corpus of images, and no generation."""
    workspace = Workspace.open(uri or str(place / "workspace"), "main")
    run_prepare(image_corpus(place / "source", labels), workspace)
    return workspace


def mined(corpus: Corpus, num: int, seed: int = 0) -> pa.Table:
    """Triplets of a corpus, sorted by anchor: same label, other label, margins from -0.2 to 0.4."""
    rng = np.random.default_rng(seed)
    anchor = np.sort(rng.integers(0, corpus.num_examples, num))
    ids, labels = np.arange(corpus.num_examples), corpus.labels
    positive = [rng.choice(ids[(labels == labels[example_id]) & (ids != example_id)]) for example_id in anchor]
    negative = [rng.choice(ids[labels != labels[example_id]]) for example_id in anchor]
    d_ap = rng.uniform(0.2, 1.0, num).astype(np.float32)
    d_an = d_ap + rng.uniform(-0.2, 0.4, num).astype(np.float32)
    positives, negatives = np.array(positive, dtype=np.int64), np.array(negative, dtype=np.int64)
    return to_arrow(Triplets(anchor, positives, negatives, d_ap, d_an))


def publish_generation(
    workspace: Workspace,
    number: int,
    table: pa.Table,
    suspects: Sequence[Suspect] = (),
    rows_per_shard: int = 50,
    **changes: Any,  # noqa: ANN401
) -> OpenGeneration:
    """Publishes triplets of the newest corpus, mined from checkpoint 4 · number, with what the manifest must say."""
    corpus, dataset = Corpus.open(workspace), generations(workspace)
    transaction = dataset.begin(number)
    writer = TripletWriter(transaction, rows_per_shard, {})
    writer.write(table)
    writer.close()
    quarantine = pa.Table.from_pylist([dict(BLANK) | dict(suspect) for suspect in suspects], schema=QUARANTINE)
    add_side_tables(transaction, quarantine, NeighbourTally(1).table(["a"], 1))
    manifest = manifest_of(transaction, len(table), STEPS_PER_ROUND * number)
    counts = {one["reason"]: 1 for one in suspects}
    margin = changes.get("mining", MiningConfig()).band.margin
    facts = {
        "corpus_fingerprint": corpus.fingerprint,
        "kinds": count_kinds(table["d_ap"].to_numpy(), table["d_an"].to_numpy(), margin),
        "quarantined": {"zero_embedding": 0, **counts},
    }
    published, ours = transaction.commit(manifest.model_copy(update=facts | changes))
    assert ours
    return OpenGeneration(workspace, Generation(dataset, published), corpus)


def publish_checkpoint(
    workspace: Workspace, step: int, losses: Sequence[float] = (), transform: TransformConfig | None = None
) -> None:
    """Publishes a checkpoint of an encoder of one weight, trained for the steps just before ``step``."""
    num = len(losses)
    rows = {name: [1.0] * num for name in STEPS.names} | {
        "step": list(range(step - num, step)),
        "generation": [0] * num,
        "loss": losses,
        "num_triplets": [10] * num,
        "num_active": [4] * num,
        "num_images": [6] * num,
    }
    checkpoint(
        workspace,
        step,
        config=RunConfig(
            encoder=EncoderConfig(name="small_cnn", embedding_dim=16),
            transform=transform or TransformConfig(height=32, width=32, channels=3),
        ),
        metrics={"listed_active_share": 0.625, "listed_in_band_share": 0.5} if num else {},
        steps=serialise(pa.table(rows, schema=STEPS), None) if num else None,
    )


def put_json(workspace: Workspace, key: str, document: object) -> None:
    workspace.store.put(key, json.dumps(document).encode())


def put_refusal(
    workspace: Workspace,
    step: int,
    reason: str = "the encoder has collapsed: lower the rate",
    created_at: str = "2020-11-22T10:00:00+00:00",
) -> None:
    refusal = {
        "step": step,
        "created_at": created_at,
        "weights_digest": "w" * 64,
        "corpus_fingerprint": "f" * 64,
        "mining": MiningConfig().model_dump(mode="json"),
        "reason": reason,
        "figures": {"spread": 1.25e-6},
    }
    put_json(workspace, workspace.refusal_key(step), refusal)


def noise_suspect(example_id: int, score: float | None, suggested: str | None, detail: str = "d") -> Suspect:
    found = {"example_id": example_id, "reason": "label_noise_suspect", "excluded": False}
    return found | {"score": score, "suggested_label": suggested, "detail": detail}


SUSPECTS: Sequence[Suspect] = (
    noise_suspect(0, 0.9, IMAGE),
    noise_suspect(4, 0.7, LABELS[3], SCRIPT),
    {
        "example_id": 5,
        "reason": "near_duplicate_across_labels",
        "excluded": True,
        "other_id": 9,
        "distance": 0.001,
        "detail": "d",
    },
)


def finished_run(place: Path, uri: str | None = None, vectors: bool = False) -> Workspace:
    """Three generations of 120 triplets, two trained checkpoints, an evaluation, three suspects."""
    if vectors:
        workspace = Workspace.open(uri or str(place / "workspace"), "main")
        run_prepare(vector_corpus(place / "source"), workspace)
    else:
        workspace = prepared(place, uri=uri)
    corpus = Corpus.open(workspace)
    for number in range(3):
        publish_checkpoint(workspace, STEPS_PER_ROUND * number, [0.5 / number] * STEPS_PER_ROUND if number else ())
        suspects = SUSPECTS if number == 2 else ()
        publish_generation(workspace, number, mined(corpus, 120, seed=number), suspects)
    folder = workspace.evaluation_prefix(8)
    put_json(workspace, f"{folder}/retrieval.json", {"recall_at_1": 0.875, "examples": "test"})
    put_json(workspace, f"{folder}/verification.json", {"val_at_far_1e-03": 0.75, "splits": {"recall_at_1": 9}})
    return workspace
