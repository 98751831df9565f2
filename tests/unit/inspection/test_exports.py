"""What is exported is what was mined, and the trainers that it is for really train from it."""

import io
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

import tests.support.metric_learning  # noqa: F401 — before pytorch-metric-learning, which would spoil FAISS
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.reader import Corpus
from pipeline.errors import CorruptDataError, InputError, UnavailableError
from pipeline.inspection.export import layouts as export_layouts
from pipeline.inspection.export.exports import export_triplets
from pipeline.inspection.export.layouts import SUFFIXES
from pipeline.inspection.export.shards import ShardWriter
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.inspection.query.rows import ROLES, TripletQuery, select_rows
from pipeline.storage.object_store import open_store
from pipeline.storage.workspace import Workspace
from pipeline.triplets.schema import TRIPLETS
from tests.support.s3_server import S3Server
from tests.unit.corpus.samples import run_prepare
from tests.unit.inspection.command_line import RunTriplets
from tests.unit.inspection.export_samples import exported, images, loaded, published, vectors
from tests.unit.inspection.report_samples import (
    LABELS,
    PER_LABEL,
    finished_run,
    image_corpus,
    mined,
    prepared,
    publish_generation,
)
from tests.unit.inspection.sql_samples import temporary

__all__ = ["images", "temporary", "vectors"]

FACTS = ["label", "negative_label", "d_ap", "d_an"]
IDS = [f"{role}_id" for role in ROLES]
PATHS = [f"{role}_path" for role in ROLES]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def in_order(frame: pd.DataFrame, ids: list[str]) -> pd.DataFrame:
    return frame.sort_values([*ids, "d_an"], ignore_index=True)


def pixels(image: Image.Image) -> Any:  # noqa: ANN401
    return np.asarray(image.convert("RGB")).tolist()


def test_datasets_opens_the_images_with_ids_labels_and_distances(images: OpenGeneration, tmp_path: Path) -> None:
    export = exported(images, tmp_path, "datasets")
    assert (export.num_triplets, export.generation, export.num_shards) == (120, 2, 1)
    found = loaded(tmp_path)
    assert found.column_names == [*ROLES, *FACTS, *IDS]
    frame = found.select_columns([*IDS, *FACTS]).to_pandas().rename(columns=dict(zip(IDS, ROLES, strict=True)))
    expected = published(images)[frame.columns]
    assert in_order(frame, list(ROLES)).equals(in_order(expected, list(ROLES)))
    cache = ExampleCache(images.corpus, tmp_path / "cache")
    paths = images.corpus.paths_of(range(images.corpus.num_examples))
    raw = pq.read_table(tmp_path / "export" / "data" / "train-00000.parquet").to_pylist()
    for row, stored in list(zip(found, raw, strict=True))[::10]:
        for role in ROLES:
            example_id = row[f"{role}_id"]
            payload = cache.content(example_id)
            assert isinstance(payload, bytes)
            assert pixels(row[role]) == pixels(Image.open(io.BytesIO(payload)))
            assert stored[role] == {"bytes": payload, "path": paths[example_id]}


def test_datasets_opens_vectors_of_fixed_length(vectors: OpenGeneration, tmp_path: Path) -> None:
    exported(vectors, tmp_path, "datasets")
    found = loaded(tmp_path)
    assert found.features["anchor"].length == 12 and found.features["d_ap"].dtype == "float32"
    for role in ROLES:
        stored = np.eye(12, dtype=np.float32)[np.array(found[f"{role}_id"])]
        assert (np.array(found[role], dtype=np.float32) == stored).all()


def test_sentence_transformers_gets_three_columns_in_its_order(images: OpenGeneration, tmp_path: Path) -> None:
    exported(images, tmp_path, "sentence-transformers", TripletQuery("hardest", limit=9))
    found = loaded(tmp_path)
    assert found.column_names == ["anchor", "positive", "negative"] and len(found) == 9
    cache = ExampleCache(images.corpus, tmp_path / "cache")
    for row, expected in zip(found, select_rows(images, TripletQuery("hardest", limit=9)), strict=True):
        for role in ROLES:
            payload = cache.content(getattr(expected, role))
            assert isinstance(payload, bytes) and pixels(row[role]) == pixels(Image.open(io.BytesIO(payload)))


@pytest.mark.parametrize("kind", ["images", "vectors"])
def test_csv_has_ids_labels_distances_and_paths(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    generation: OpenGeneration = request.getfixturevalue(kind)
    exported(generation, tmp_path, "csv")
    frame = pd.read_csv(tmp_path / "export" / "data" / "train-00000.csv", dtype=dict.fromkeys(FACTS[2:], np.float32))
    assert frame.columns.tolist() == [*ROLES, *FACTS, *PATHS]
    expected = published(generation)
    paths = generation.corpus.paths_of(range(generation.corpus.num_examples))
    for role in ROLES:
        expected[f"{role}_path"] = [paths[example_id] for example_id in expected[role]]
    found = in_order(frame, list(ROLES))
    pd.testing.assert_frame_equal(
        found, in_order(expected[frame.columns], list(ROLES)), check_dtype=False, check_exact=True
    )


def test_rows_come_in_the_order_of_the_query_and_only_those_of_it(images: OpenGeneration, tmp_path: Path) -> None:
    query = TripletQuery("random", label=LABELS[0], seed=4)
    exported(images, tmp_path, "csv", replace(query, limit=5))
    frame = pd.read_csv(tmp_path / "export" / "data" / "train-00000.csv")
    expected = select_rows(images, replace(query, limit=5))
    assert frame[list(ROLES)].to_numpy().tolist() == [[row.anchor, row.positive, row.negative] for row in expected]
    for folder in "ab":
        exported(images, tmp_path / folder, "datasets", query)
    first, second = (tmp_path / folder / "export" / "data" / "train-00000.parquet" for folder in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_large_pictures_are_held_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace.open(str(tmp_path / "w"), "main")
    run_prepare(image_corpus(tmp_path / "source", image_size=200), workspace)
    publish_generation(workspace, 0, mined(Corpus.open(workspace), 30))
    monkeypatch.setattr(export_layouts, "BYTES_AT_ONCE", 1_000_000)  # two rows of three pictures of 120 KB, noise
    exported(open_generation(workspace), tmp_path, "datasets")
    metadata = pq.read_metadata(tmp_path / "export" / "data" / "train-00000.parquet")
    assert {metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)} == {2}


def test_the_card_says_how_to_open_it_and_where_it_comes_from(images: OpenGeneration, tmp_path: Path) -> None:
    query = TripletQuery("hardest", label=LABELS[0], limit=3)
    exported(images, tmp_path, "datasets", query)
    front, _, body = (tmp_path / "export" / "README.md").read_text().removeprefix("---\n").partition("---\n")
    meta = yaml.safe_load(front)
    assert meta["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}
    ]
    assert meta["size_categories"] == ["n<1K"]
    manifest = images.manifest
    for words in (manifest.weights_digest, manifest.corpus_fingerprint, "step 8", '"margin":0.2', "limit 3", "hardest"):
        assert words in body
    assert "<script>" not in body and r"\<script\>" in body and str(tmp_path) not in body


def test_a_target_that_is_not_empty_is_named_and_left_as_it_is(images: OpenGeneration, tmp_path: Path) -> None:
    (tmp_path / "export" / "old").mkdir(parents=True)
    (tmp_path / "export" / "old" / "file").write_text("mine")
    with pytest.raises(InputError, match=f"{tmp_path}/export is not empty"):
        exported(images, tmp_path, "csv")
    assert [path.name for path in (tmp_path / "export").rglob("*")] == ["old", "file"]
    (tmp_path / "export" / "old" / "file").unlink()
    assert exported(images, tmp_path, "csv").num_triplets == 120


def test_what_is_not_there_writes_nothing(images: OpenGeneration, tmp_path: Path) -> None:
    empty = publish_generation(prepared(tmp_path), 0, TRIPLETS.empty_table())
    with pytest.raises(InputError, match="generation 0 has no such triplet"):
        exported(empty, tmp_path, "datasets")
    with pytest.raises(InputError, match="has no label 'nobody'"):
        exported(images, tmp_path, "datasets", TripletQuery(label="nobody"))
    assert not (tmp_path / "export").exists()


def test_a_spoilt_part_of_the_corpus_ends_the_export_without_a_card(tmp_path: Path) -> None:
    generation = open_generation(finished_run(tmp_path))
    part = generation.corpus.manifest.parts_of("examples")[1]
    generation.workspace.store.put(part.key, b"spoilt")
    for layout in SUFFIXES:
        with pytest.raises(CorruptDataError, match="examples-00001"):
            exported(generation, tmp_path, layout)
        assert not (tmp_path / "export" / "README.md").exists()


def test_a_temporary_folder_without_room_is_named(
    images: OpenGeneration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = ShardWriter(open_store(str(tmp_path / "to")), tmp_path / "gone", pa.schema([("a", pa.int64())]), "csv")
    with pytest.raises(UnavailableError, match=r"shard.csv cannot be written \(.*\): make room, or set TMPDIR"):
        full.write(pa.table({"a": [1]}))


def test_s3_to_s3_is_the_same_export(
    images: OpenGeneration, s3_environment: S3Server, tmp_path: Path, temporary: Path
) -> None:
    base = f"s3://{s3_environment.bucket}/{uuid.uuid4().hex}"
    remote = open_generation(finished_run(tmp_path, f"{base}/run"))
    export = export_triplets(
        remote, f"{base}/to", "datasets", TripletQuery("anchor"), cache_dir=str(tmp_path / "cache")
    )
    here = exported(images, tmp_path / "here", "datasets")
    assert export.uri == f"{base}/to" and export.num_triplets == here.num_triplets == 120
    store = open_store(export.uri)
    assert store.list("") == ["README.md", "data/train-00000.parquet"]
    ours = pq.read_table(pa.BufferReader(store.get("data/train-00000.parquet"))).select([*ROLES, *IDS])
    local = pq.read_table(tmp_path / "here" / "export" / "data" / "train-00000.parquet").select([*ROLES, *IDS])
    key = [(name, "ascending") for name in IDS]
    assert ours.sort_by(key).equals(local.sort_by(key))
    with pytest.raises(InputError, match="is not empty"):
        export_triplets(remote, f"{base}/to", "csv", TripletQuery("anchor"))


def test_the_command_exports_and_says_where(images: OpenGeneration, tmp_path: Path, triplets: RunTriplets) -> None:
    where = ("--workspace", images.workspace.store.uri, "--cluster.cache_dir", tmp_path / "cache")
    ended = triplets("export", "--to", tmp_path / "export", *where)
    assert ended.code == 0 and f"120 triplets of generation 2 are in {tmp_path}/export: 1 files" in ended.out
    assert len(loaded(tmp_path)) == 120
    flags = ("--format", "csv", "--order", "easiest", "--limit", 4, "--generation", 1, "--kind", "hard", "--json")
    report = triplets("export", "--to", tmp_path / "easy", *flags, *where).report
    assert (report["num_triplets"], report["generation"], report["layout"]) == (4, 1, "csv")
    refused = triplets("export", "--to", tmp_path / "easy", *where)
    assert refused.code == 2 and refused.words.startswith(f"error: {tmp_path}/easy is not empty")
    assert triplets("export", *where).code == 2


class Pixels(nn.Module):
    """A small network over pictures, as sentence-transformers takes one of its own making."""

    modalities = ["image"]  # noqa: RUF012 — as the library declares it

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(60 * 60, 8)

    def preprocess(self, inputs: list[Image.Image], prompt: str | None = None, **_: object) -> dict[str, Tensor]:
        return {"pixel_values": torch.stack([as_tensor(image) for image in inputs])}

    def forward(self, features: dict[str, Tensor], **_: object) -> dict[str, Tensor]:
        return features | {"sentence_embedding": self.layer(features["pixel_values"])}


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image.convert("L"), dtype=np.float32) / 255).flatten()


def test_pytorch_metric_learning_trains_a_step_from_it(images: OpenGeneration, tmp_path: Path) -> None:
    from pytorch_metric_learning.losses import TripletMarginLoss  # type: ignore[import-untyped]

    exported(images, tmp_path, "datasets", TripletQuery("hardest"))
    rows = loaded(tmp_path)[:16]
    torch.manual_seed(0)
    network = nn.Linear(60 * 60, 8)
    before = network.weight.detach().clone()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    embeddings = network(torch.stack([as_tensor(image) for role in ROLES for image in rows[role]]))
    labels = torch.tensor([LABELS.index(name) for name in (*rows["label"], *rows["label"], *rows["negative_label"])])
    assert labels.tolist() == [example_id // PER_LABEL for name in IDS for example_id in rows[name]]
    loss = TripletMarginLoss(margin=0.2)(embeddings, indices_tuple=tuple(torch.arange(48).view(3, 16)))
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss) and loss > 0 and not torch.equal(network.weight, before)


def test_the_trainer_of_sentence_transformers_trains_from_it(images: OpenGeneration, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("accelerate")  # its trainer needs it; the package does not
    from sentence_transformers import (  # type: ignore[import-not-found,unused-ignore]
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import (  # type: ignore[import-not-found,unused-ignore]
        TripletLoss,
    )

    exported(images, tmp_path, "sentence-transformers", TripletQuery("hardest"))
    network = Pixels()
    model = SentenceTransformer(modules=[network], device="cpu")
    before = network.layer.weight.detach().clone()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=16, save_strategy="no", use_cpu=True,
        report_to=[], disable_tqdm=True,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=loaded(tmp_path), loss=TripletLoss(model)
    )
    assert np.isfinite(trainer.train().training_loss) and not torch.equal(network.layer.weight, before)
