"""What holds for every payload, and for one that only this file knows: the recipe of CONTRIBUTING.md, followed."""

import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pipeline.config import ClusterConfig, EncoderConfig, RunConfig, TransformConfig
from pipeline.corpus.cache import ExampleCache
from pipeline.corpus.payloads import IMAGE, IMAGE_TYPE, PAYLOADS, VECTOR, Content, Payload
from pipeline.corpus.publishing import Origin, publish_corpus
from pipeline.corpus.reader import Corpus
from pipeline.corpus.relabel import find_changes, relabel
from pipeline.corpus.schema import CorpusManifest, corpora, examples_schema, from_parquet, to_parquet
from pipeline.corpus.sources.items import Item
from pipeline.corpus.split import Split
from pipeline.corpus.transform import Alter, Transform
from pipeline.corpus.writer import CorpusWriter, Fingerprint
from pipeline.encoders.registry import initial_encoder
from pipeline.errors import CorruptDataError, InputError
from pipeline.inspection.export.exports import export_triplets
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.inspection.labels.suspect_page import PageOptions, write_suspect_page
from pipeline.inspection.labels.suspects import SuspectList
from pipeline.inspection.query.rows import ROLES, TripletQuery
from pipeline.inspection.report.examples import read_examples
from pipeline.inspection.report.page import render_report
from pipeline.inspection.summary.summary import summarise
from pipeline.inspection.verify.rescoring import score_under_checkpoint
from pipeline.planning.measure.stage import facts_of
from pipeline.stages.embed.checkpoint import newest_checkpoint
from pipeline.stages.embed.worker import EncodeWorker
from pipeline.stages.evaluate.leakage import trained_labels
from pipeline.stages.evaluate.robustness import unavailable_reason
from pipeline.stages.job import Job
from pipeline.storage.publish import Transaction
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import png
from tests.unit.encoders.samples import checkpoint
from tests.unit.inspection.report_samples import mined, publish_generation

DIM = 8
ENCODER = EncoderConfig(name="tests.unit.encoders.own_networks:FlatLinear", embedding_dim=4)
TRANSFORM = TransformConfig(height=1, width=DIM)


def amplitudes(content: bytes, /, alter: Alter | None = None) -> npt.NDArray[np.float32]:
    return np.frombuffer(content, np.uint8).astype(np.float32)


SOUND = Payload[bytes](  # amplitudes of one byte each
    "sound",
    content_column="sound",
    path_column="source_id",
    batch_rows=16,
    fields=lambda vector_dim: [pa.field("sound", pa.binary()), pa.field("source_id", pa.string())],
    to_columns=lambda contents, paths: [pa.array(contents, pa.binary()), pa.array(paths, pa.string())],
    from_scalar=lambda value: value.as_py(),
    to_bytes=bytes,
    to_input=lambda config: amplitudes,
)
CONTENTS: Mapping[str, Sequence[Content]] = {
    "image": [png(seed) for seed in range(12)],
    "vector": list(np.random.default_rng(0).standard_normal((12, DIM), dtype=np.float32)),
    "sound": [bytes(range(seed, seed + DIM)) for seed in range(12)],
}
PATHS = [f"{example_id}.x" for example_id in range(12)]
ANY_CONTENT: Mapping[str, st.SearchStrategy[Any]] = {
    "image": st.binary(),
    "vector": arrays(np.float32, DIM),
    "sound": st.binary(),
}
FEATURES: Mapping[str, tuple[pa.DataType, dict[str, Any]]] = {
    "image": (IMAGE_TYPE, {"_type": "Image"}),
    "vector": (
        pa.list_(pa.float32(), DIM),
        {"feature": {"dtype": "float32", "_type": "Value"}, "length": DIM, "_type": "Sequence"},
    ),
    "sound": (pa.binary(), {"dtype": "binary", "_type": "Value"}),
}
each_payload = pytest.mark.parametrize("payload", [IMAGE, VECTOR, SOUND], ids=operator.attrgetter("name"))


@pytest.fixture(scope="module", autouse=True)
def _sound_is_known() -> Iterator[None]:
    """All that an engineer does for a payload of their own, beside an encoder that takes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PAYLOADS, SOUND.name, SOUND)
        yield


def publish(workspace: Workspace, payload: Payload[Any]) -> Corpus:
    """Three examples of each label, in parts of five."""

    def write(transaction: Transaction[CorpusManifest]) -> CorpusWriter:
        writer = CorpusWriter(transaction, payload, 5)
        for example_id, (content, path) in enumerate(zip(CONTENTS[payload.name], PATHS, strict=True)):
            writer.add(Item(f"label {example_id // 3}", content, path))
        writer.finish()
        return writer

    publish_corpus(corpora(workspace), None, Split(0.0), Origin("a test", "k" * 64, 0, "c" * 64), write)
    return Corpus.open(workspace)


def test_all_payloads_are_tested() -> None:
    assert set(PAYLOADS) == set(CONTENTS) and all(payload.name == name for name, payload in PAYLOADS.items())


@each_payload
@settings(max_examples=25)
@given(data=st.data())
def test_parquet_gives_contents_and_paths_back(payload: Payload[Any], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(ANY_CONTENT[payload.name], st.text()), min_size=1, max_size=5))
    contents, paths = (list(column) for column in zip(*rows, strict=True))
    columns = [pa.array(range(len(rows))), pa.array(paths, pa.string()), *payload.to_columns(contents, paths)]
    schema = examples_schema(payload, payload.vector_dim(contents[0]))
    stored = to_parquet(pa.Table.from_arrays(columns, schema=schema))
    table = from_parquet(stored)
    assert [*map(payload.to_bytes, payload.contents(table))] == [*map(payload.to_bytes, contents)]
    assert payload.paths(table) == from_parquet(stored, [payload.path_column]).column(0).to_pylist() == paths
    assert (table.column_names, table.schema.metadata) == (schema.names, schema.metadata)
    assert table.column_names[2] == payload.name


@each_payload
def test_schema_tells_hugging_face_its_features(payload: Payload[Any]) -> None:
    schema = examples_schema(payload, DIM)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names and features["example_id"] == {"dtype": "int64", "_type": "Value"}
    assert (schema.field(payload.name).type, features[payload.name]) == FEATURES[payload.name]


@each_payload
def test_a_corpus_is_published_read_cached_loaded_and_relabelled(
    payload: Payload[Any], workspace: Workspace, tmp_path: Path
) -> None:
    corpus, contents = publish(workspace, payload), [*map(payload.to_bytes, CONTENTS[payload.name])]
    assert corpus.payload is payload and corpus.manifest.vector_dim == (DIM if payload is VECTOR else None)
    relabel(workspace, corpus, find_changes(corpus, {3: "label 3"}), 0, "c" * 64)
    relabelled = Corpus.open(workspace)
    assert (relabelled.manifest.number, relabelled.label_names[relabelled.labels[3]]) == (1, "label 3")
    for found in (corpus, relabelled):
        read = [content for part in range(3) for content in payload.contents(found.read_part(part))]
        cache, to_input = ExampleCache(found, tmp_path / "cache"), payload.to_input(TRANSFORM)
        assert [*map(payload.to_bytes, read)] == [*map(payload.to_bytes, map(cache.content, range(12)))] == contents
        assert [path for part in range(3) for path in found.read_paths(part)] == PATHS
        assert found.paths_of([11, 0, 0]) == {0: PATHS[0], 11: PATHS[11]} and found.paths_of([]) == {}
        inputs = [*map(cache.loader(TRANSFORM), range(12))]
        np.testing.assert_array_equal(inputs, [*map(to_input, CONTENTS[payload.name])], strict=True)


def test_an_encoder_takes_images_transformed_and_vectors_as_they_are(workspace: Workspace, tmp_path: Path) -> None:
    cache, transform = ExampleCache(publish(workspace, IMAGE), tmp_path / "cache"), Transform(TRANSFORM)
    load, load_turned = cache.loader(TRANSFORM), cache.loader(TRANSFORM, Image.Image.rotate)
    for example_id in range(12):
        content = cache.content(example_id)
        assert isinstance(content, bytes) and IMAGE.viewer is not None
        assert IMAGE.viewer(TRANSFORM)(content) == transform.view(content)
        np.testing.assert_array_equal(load(example_id), transform(content))
        turned = transform(content, operator.methodcaller("rotate", example_id))
        np.testing.assert_array_equal(load_turned(example_id), turned)
    vectors = publish(Workspace.open(str(tmp_path / "vectors"), "main"), VECTOR)
    vector = ExampleCache(vectors, tmp_path / "cache").content(7)
    assert isinstance(vector, np.ndarray) and not vector.flags.writeable
    assert VECTOR.to_input(TRANSFORM)(vector) is vector and VECTOR.viewer is None


@pytest.mark.parametrize(
    ("payload", "contents", "digest"),
    [
        (IMAGE, [b"\x89PNG", b"second"], "e730fec20a107a29c587c5e4b4fe5d3992f04f7a86d0223073ba6d43123610ad"),
        (
            VECTOR,
            np.array([[1.0, -2.5, 3e-3], [0.0, 0.5, 7.0]], np.float32),
            "7c833bf44b63233c067cea959b5114551bc73d80bb1b7358bfdfa02fc2d2a4aa",
        ),
    ],
)
def test_fingerprints_never_change(payload: Payload[Any], contents: Sequence[Any], digest: str) -> None:
    fingerprint = Fingerprint(payload)
    for label, content in zip("aü", contents, strict=True):
        fingerprint.add(label, payload.to_bytes(content))
    assert fingerprint.hexdigest() == digest


def test_a_payload_of_another_version_is_named(workspace: Workspace) -> None:
    publish(workspace, VECTOR)
    key = corpora(workspace).manifest_key(0)
    workspace.store.put(key, workspace.store.get(key).replace(b'"vector"', b'"smell"'))
    with pytest.raises(CorruptDataError, match="payload 'smell' is none of image, vector, sound"):
        Corpus.open(workspace)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> OpenGeneration:
    """30 triplets of a corpus of sounds, mined from a checkpoint of an encoder that takes them."""
    workspace = Workspace.open(str(tmp_path_factory.mktemp("sounds")), "main")
    config = RunConfig(encoder=ENCODER, transform=TRANSFORM)
    corpus = publish(workspace, SOUND)
    checkpoint(workspace, 0, initial_encoder(ENCODER, TRANSFORM, 0), config, corpus_fingerprint=corpus.fingerprint)
    publish_generation(workspace, 0, mined(corpus, 30))
    return open_generation(workspace)


@pytest.fixture
def config(sounds: OpenGeneration, tmp_path: Path) -> RunConfig:
    cluster = ClusterConfig(cache_dir=str(tmp_path / "cache"), threads_per_actor=torch.get_num_threads())
    return RunConfig(workspace=sounds.workspace.store.uri, encoder=ENCODER, transform=TRANSFORM, cluster=cluster)


def test_a_new_payload_is_taken_by_the_encoders_that_fit_it(sounds: OpenGeneration, config: RunConfig) -> None:
    assert EncodeWorker(config, 0).embed_part("main", 0, "e" * 32, 0) == 5
    assert score_under_checkpoint(sounds, config, 0, 10)["num_triplets"] == 10
    assert facts_of(config, sounds.corpus).payload_bytes >= 12 * DIM
    assert newest_checkpoint(Job(config, sounds.workspace, sounds.corpus)).step == 0
    for name, takes in (("small_cnn", "images"), ("identity", "vectors")):
        other = config.model_copy(update={"encoder": EncoderConfig(name=name)})
        with pytest.raises(InputError, match=f"holds sounds, but encoder.name '{name}' takes {takes}: name a network"):
            newest_checkpoint(Job(other, sounds.workspace, sounds.corpus))


def test_a_new_payload_is_summarised_and_reported_without_a_picture(
    sounds: OpenGeneration, config: RunConfig, tmp_path: Path
) -> None:
    assert summarise(sounds, num_hubs=3)["num_triplets"] == 30
    examples = read_examples(sounds.corpus, [11, 2, 2], TRANSFORM, thumbnail_chars=1000)
    found = [(shown.example_id, shown.label, shown.path, shown.thumbnail) for shown in examples.values()]
    assert found == [(2, "label 0", PATHS[2], None), (11, "label 3", PATHS[11], None)]
    page = render_report(sounds.workspace, config, num_generations=1, triplets_per_sheet=4)
    assert PATHS[2].encode() in page and b"as the encoder sees them" not in page and b"data:image" not in page
    with pytest.raises(InputError) as caught:
        nobody, options = SuspectList((), 0, 0, np.array([])), PageOptions(1, None, TRANSFORM)
        write_suspect_page(tmp_path / "page", sounds, sounds.corpus, nobody, options)
    assert str(caught.value) == "the corpus holds sounds, which are nothing to look at: leave --page out, and use --csv"
    assert unavailable_reason(config, sounds.corpus, sounds.checkpoint) == (
        "robustness perturbs images, and this corpus holds sounds: measure another protocol"
    )
    seen = trained_labels(sounds.workspace, sounds.checkpoint, sounds.corpus)
    assert seen is not None and not seen.any()


def test_a_new_payload_is_exported(sounds: OpenGeneration, tmp_path: Path) -> None:
    export_triplets(sounds, str(tmp_path / "export"), "datasets", TripletQuery("anchor"), str(tmp_path / "cache"))
    table = pq.read_table(tmp_path / "export" / "data" / "train-00000.parquet")
    for role in ROLES:
        expected = [CONTENTS["sound"][example_id] for example_id in table[f"{role}_id"].to_pylist()]
        assert table[role].to_pylist() == expected and table.schema.field(role).type == pa.binary()
