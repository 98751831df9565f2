"""Where a job reads back what it or another one has written, and how to plant other bytes there."""

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from jobs.settings_file import read_settings
from pipeline.config import CorpusConfig, EncoderConfig, RunConfig
from pipeline.corpus.cache import SOURCE_DIGEST, ExampleCache
from pipeline.corpus.lfw_files import read_pairs
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import corpora
from pipeline.corpus.sources.image_archive import ImageArchive
from pipeline.corpus.sources.image_folder import ImageFolder
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.split import read_split
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import checkpoints, load_trainer_state, load_weights
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.encoders.registry import initial_encoder
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.inspection.labels.label_list import read_label_list
from pipeline.inspection.query.sql import SqlSession
from pipeline.inspection.report.history import read_evaluations, read_training
from pipeline.storage import leases
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.tombstones import Tombstones, read_history
from pipeline.storage.workspace import Workspace
from pipeline.studies.compare.results import ArmResult
from pipeline.triplets.reader import generations
from pipeline.triplets.refusals import read_refusals
from tests.unit.corpus.samples import LIMITS
from tests.unit.encoders.samples import checkpoint
from tests.unit.inspection.mined_samples import ENCODER, KEY, TRANSFORM, mined

MARK_VARIABLE = "MOTHERLODE_PLANTED_MARK"


class LeavesAMark:
    """Unpickled without care, it makes a folder."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ[MARK_VARIABLE],)


def extension_schema() -> pa.Schema:
    """A column of the type that older versions of pyarrow unpickled as they read it (CVE-2023-47248)."""
    extension = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(LeavesAMark(), protocol=0).decode(),
    }
    return pa.schema([pa.field("example_id", pa.int64(), metadata=extension)])


class Place:
    """A small finished workspace, and files beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.generation = folder, mined(str(folder / "w"), folder)
        self.workspace = self.generation.workspace
        self.store = self.workspace.store
        checkpoint(
            self.workspace,
            4,
            initial_encoder(ENCODER, TRANSFORM, 4),
            RunConfig(encoder=ENCODER, transform=TRANSFORM),
            generation=0,
            steps=b"",
            parent=0,
        )

    def dataset(self, kind: str) -> VersionedDataset[Any]:
        found: dict[str, VersionedDataset[Any]] = {
            "corpus": corpora(self.workspace),
            "checkpoint": checkpoints(self.workspace),
            "generation": generations(self.workspace),
        }
        return found[kind]

    def plant(self, kind: str, number: int, role: str, data: bytes) -> Any:  # noqa: ANN401 — manifests of all kinds
        """Puts bytes in place of the first part of a role; the manifest then promises just these."""
        dataset = self.dataset(kind)
        manifest = dataset.read(number)
        old = manifest.parts_of(role)[0]
        new = old.model_copy(update={"num_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        parts = tuple(new if part == old else part for part in manifest.parts)
        self.store.put(old.key, data)
        document = manifest.model_copy(update={"parts": parts}).model_dump_json()
        self.store.put(dataset.manifest_key(number), document.encode())
        return dataset.read(number)

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def reopened(self) -> OpenGeneration:
        return open_generation(Workspace.open(self.store.uri, "main"))


Reader: TypeAlias = Callable[[Place, bytes], object]


def part(kind: str, number: int, role: str, read: Callable[[Place], object]) -> Reader:
    """Reads after the first part of a role was replaced."""

    def plant(place: Place, data: bytes) -> object:
        place.plant(kind, number, role, data)
        return read(place)

    return plant


def stored(key: Callable[[Place], str], read: Callable[[Place], object]) -> Reader:
    """Reads after an object was put."""

    def plant(place: Place, data: bytes) -> object:
        place.store.put(key(place), data)
        return read(place)

    return plant


def manifest(kind: str) -> Reader:
    return stored(lambda place: place.dataset(kind).manifest_key(0), lambda place: place.dataset(kind).read(0))


def select_triplets(place: Place) -> object:
    with SqlSession.of(place.reopened()) as session:
        return session.select("FROM triplets").fetch()


def cache_of_examples(place: Place, data: bytes) -> object:
    corpus = place.generation.corpus
    cache = ExampleCache(corpus, place.folder / "planted")
    sink = pa.BufferOutputStream()
    schema = extension_schema().with_metadata({SOURCE_DIGEST: corpus.part_sha256(0).encode()})
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.table([list(range(10))], schema=schema))
    for content in (data, sink.getvalue().to_pybytes()):
        (cache.folder / "part-00000.arrow").write_bytes(content)
        ExampleCache(corpus, place.folder / "planted").content(0)
    return None


def pretrained(suffix: str) -> Reader:
    def read(place: Place, data: bytes) -> object:
        file = place.file(f"weights{suffix}", data)
        config = EncoderConfig(name="small_cnn", embedding_dim=8, pretrained=str(file))
        return pretrained_encoder(config, TRANSFORM, 0, place.workspace, "f" * 64)

    return read


READERS: dict[str, Reader] = {
    "weights": lambda place, data: load_weights(
        place.dataset("checkpoint"), place.plant("checkpoint", 4, "encoder", data)
    ),
    "trainer state": lambda place, data: load_trainer_state(
        place.dataset("checkpoint"), place.plant("checkpoint", 4, "trainer", data)
    ),
    "steps": part("checkpoint", 4, "steps", lambda place: read_training(place.workspace)),
    "examples": part("corpus", 0, "examples", lambda place: Corpus.open(place.workspace).read_part(0)),
    "labels": part("corpus", 0, "labels", lambda place: Corpus.open(place.workspace)),
    "embeddings": stored(
        lambda place: f"{place.workspace.embeddings_prefix(KEY)}/000000.parquet",
        lambda place: EmbeddingParts(place.workspace, KEY).read(0, 0, 10),
    ),
    "triplets": part("generation", 0, "triplets", lambda place: place.reopened().reader.shard(0)["anchor"]),
    "triplets by SQL": part("generation", 0, "triplets", select_triplets),
    "quarantine": part("generation", 0, "quarantine", lambda place: place.reopened().reader.quarantine()["reason"]),
    "neighbours": part("generation", 0, "neighbours", lambda place: place.reopened().reader.neighbours()["label"]),
    "manifest of a corpus": manifest("corpus"),
    "manifest of a checkpoint": manifest("checkpoint"),
    "manifest of a generation": manifest("generation"),
    "tombstone": stored(
        lambda place: Tombstones(place.dataset("checkpoint")).key(2),
        lambda place: read_history(place.dataset("checkpoint")),
    ),
    "refusal": stored(lambda place: place.workspace.refusal_key(4), lambda place: read_refusals(place.workspace)),
    "lease": stored(lambda place: f"{leases.PREFIX}/planted.json", lambda place: leases.list_leases(place.store)),
    "evaluation": stored(
        lambda place: f"{place.workspace.evaluation_prefix(4)}/verification.json",
        lambda place: read_evaluations(place.workspace),
    ),
    "result of a comparison": lambda place, data: ArmResult.model_validate_json(data),
    "cache of examples": cache_of_examples,
    "pretrained weights": pretrained(".safetensors"),
    "pretrained pickle": pretrained(".pt"),
    "pretrained without a name": pretrained(""),
    "LFW's pairs": lambda place, data: read_pairs(place.file("pairs.txt", data)),
    "list of people": lambda place, data: read_split(CorpusConfig(test_people=str(place.file("people.txt", data)))),
    "list of labels": lambda place, data: read_label_list(place.file("labels.csv", data)),
    "settings": lambda place, data: read_settings(place.file("run.yaml", data)),
    "image": lambda place, data: list(ImageFolder(place.file("ann/1.jpg", data).parents[1], LIMITS)),
    "archive": lambda place, data: list(ImageArchive(place.file("images.tar", data), LIMITS)),
    "vectors": lambda place, data: list(ParquetSource(place.file("vectors.parquet", data), LIMITS)),
}
