"""The views show what was published, and open only what a statement names."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import BandConfig, MiningConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import checkpoints
from pipeline.errors import CorruptDataError, InputError
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import TRIPLETS
from tests.unit.corpus.samples import faces, folder_config, run_prepare, write_folder
from tests.unit.inspection.report_samples import finished_run, image_corpus, mined, prepared, publish_generation
from tests.unit.inspection.sql_samples import NUM_EXAMPLES, answer, expected_triplets, session, workspace

__all__ = ["workspace"]


def test_triplets_are_the_published_ones_with_margin_kind_and_the_labels_of_the_corpus(workspace: Workspace) -> None:
    with session(workspace) as opened:
        rows = opened.select("FROM triplets")
        assert rows.columns == [
            *("generation", "anchor", "positive", "negative", "d_ap", "d_an"),
            *("margin", "kind", "label", "negative_label"),
        ]
        assert sorted(rows.fetch()) == expected_triplets(workspace, 2)
    assert sorted(answer(workspace, "FROM triplets", 0)) == expected_triplets(workspace, 0)


def test_all_generations_are_one_view(workspace: Workspace) -> None:
    found = answer(workspace, "SELECT generation, count(*) FROM triplets GROUP BY 1 ORDER BY 1", every=True)
    assert found == [(0, 120), (1, 120), (2, 120)]
    both = sorted(answer(workspace, "FROM triplets WHERE generation > 0", every=True))
    assert both == expected_triplets(workspace, 1) + expected_triplets(workspace, 2)


def test_a_kind_is_that_of_the_manifests_own_margin_to_the_last_bit(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    d_ap = np.float32(0.3)
    at = np.float32(float(d_ap) + 0.7)
    d_an = [d_ap, np.nextafter(d_ap, np.float32(1)), np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(2))]
    ids = np.arange(4)
    table = pa.table([ids, ids, ids, np.full(4, d_ap), np.array(d_an)], schema=TRIPLETS)
    mining = MiningConfig(band=BandConfig(margin=0.7))
    manifest = publish_generation(workspace, 0, table, mining=mining, kinds={}).manifest
    kinds = [kind for (kind,) in answer(workspace, "SELECT kind FROM triplets ORDER BY anchor")]
    assert kinds == ["hard", "semi_hard", "semi_hard", "easy"] and manifest.mining.band.margin == 0.7


def test_each_generation_has_the_labels_of_the_corpus_that_it_was_mined_from(tmp_path: Path) -> None:
    workspace = prepared(tmp_path, ["a", "b"])
    publish_generation(workspace, 0, mined(Corpus.open(workspace), 5))
    run_prepare(image_corpus(tmp_path / "new", ["y", "z"]), workspace, again=True)
    publish_generation(workspace, 1, mined(Corpus.open(workspace), 5))
    statement = (
        "SELECT generation, list(DISTINCT l ORDER BY l) FROM (SELECT generation, unnest([label, negative_label]) "
    )
    found = answer(workspace, f"{statement} AS l FROM triplets) GROUP BY 1 ORDER BY 1", every=True)
    assert found == [(0, ["a", "b"]), (1, ["y", "z"])]


def test_the_corpus_is_every_example_with_label_role_and_path(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path / "w"), "main")
    files = write_folder(tmp_path / "faces", faces(12, 3))
    run_prepare(folder_config(files, examples_per_part=10, test_fraction=0.3), workspace)
    corpus = Corpus.open(workspace)
    assert 0 < corpus.is_test.sum() < corpus.num_examples
    paths = [path for part in range(corpus.num_parts) for path in corpus.read_paths(part)]
    names = [corpus.label_names[code] for code in corpus.labels]
    expected = list(zip(range(36), names, corpus.is_test.tolist(), paths, strict=True))
    assert answer(workspace, "FROM corpus ORDER BY example_id") == expected


def test_the_quarantine_has_the_evidence_with_labels_and_what_the_corpus_left_out(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path / "w"), "main")
    files = write_folder(tmp_path / "faces", faces(2, 3) | {"person_0/broken.png": b"no image", "stray.txt": b"x"})
    run_prepare(folder_config(files), workspace)
    suspect = {"example_id": 1, "reason": "near_duplicate_across_labels", "excluded": True, "other_id": 4}
    evidence = {"distance": 0.5, "score": 2.0, "suggested_label": "person_1", "detail": "alike"}
    publish_generation(workspace, 0, mined(Corpus.open(workspace), 5), [suspect | evidence])
    with session(workspace) as opened:
        rows = opened.select("FROM quarantine ORDER BY generation NULLS LAST, path")
        found = [dict(zip(rows.columns, row, strict=True)) for row in rows.fetch()]
    blank = dict.fromkeys(found[0])
    labels = {"label": "person_0", "other_label": "person_1"}
    assert found[0] == blank | suspect | evidence | labels | {"generation": 0}
    left_out = [(row["path"], row["generation"], row["example_id"], row["excluded"]) for row in found[1:]]
    assert left_out == [("person_0/broken.png", None, None, True), ("stray.txt", None, None, True)]
    assert all(row["reason"] and row["detail"] for row in found)


def test_generations_and_checkpoints_are_their_manifests(workspace: Workspace) -> None:
    manifests = [generations(workspace).read(number) for number in range(3)]
    statement = (
        "SELECT number, checkpoint_step, corpus_fingerprint, backend, band->>'mode', (band->>'margin')::DOUBLE, "
        "num_pairs, hard, semi_hard, easy, quarantined, num_shards, num_bytes, spread, agreement, parent "
        "FROM generations ORDER BY number"
    )
    assert answer(workspace, statement) == [
        (
            *(m.number, m.checkpoint_step, m.corpus_fingerprint, m.backend, "semi_hard", 0.2, m.num_pairs),
            *(m.kinds[kind] for kind in ("hard", "semi_hard", "easy")),
            *(m.quarantined, 3, sum(part.num_bytes for part in m.parts), m.spread, m.agreement, None),
        )
        for m in manifests
    ]
    steps = [checkpoints(workspace).read(step) for step in (0, 4, 8)]
    found = answer(workspace, "SELECT step, weights_digest, metrics FROM checkpoints ORDER BY step")
    assert found == [(checkpoint.step, checkpoint.weights_digest, checkpoint.metrics) for checkpoint in steps]
    assert answer(workspace, "SELECT count(*) FROM generations WHERE created_at > '2020-01-01'") == [(3,)]


PATHLESS = [
    "SELECT label, count(*) FROM corpus GROUP BY 1",
    "SELECT count(*) FROM corpus WHERE NOT is_test",
    "DESCRIBE corpus",
    "SELECT label FROM (SELECT * FROM corpus)",
]
WITH_PATHS = [
    "FROM corpus",
    "SELECT c FROM corpus c",
    "SELECT to_json(c) FROM corpus c",
    "SELECT COLUMNS('pa.h') FROM corpus",
    "SELECT 1 FROM corpus WHERE path LIKE '%x%'",
    "SUMMARIZE corpus",
    "SELECT count(*) FROM (SELECT DISTINCT * FROM corpus)",
    "SELECT t.anchor FROM triplets t JOIN corpus c ON c.example_id = t.anchor ORDER BY c.path",
]


def test_only_what_a_statement_names_is_read(tmp_path: Path) -> None:
    workspace = finished_run(tmp_path)
    for part in Corpus.open(workspace).manifest.parts_of("examples"):
        workspace.store.put(part.key, b"spoilt")
    for statement in PATHLESS:
        assert answer(workspace, statement)
    for statement in WITH_PATHS:
        with pytest.raises(CorruptDataError):
            answer(workspace, statement)
    for number in range(3):
        workspace.store.put(generations(workspace).read(number).parts_of("triplets")[0].key, b"spoilt")
    for statement in (*PATHLESS, "FROM quarantine", "FROM generations", "FROM checkpoints"):
        assert answer(workspace, statement)
    with pytest.raises(CorruptDataError):
        answer(workspace, "SELECT 1 FROM triplets")


@pytest.mark.parametrize("statement", WITH_PATHS)
def test_paths_are_there_wherever_they_are_asked_for(workspace: Workspace, statement: str) -> None:
    with session(workspace) as opened:
        before = opened.select("SELECT count(*), count(label) FROM corpus").fetch()  # opens the view without them
        assert before == [(NUM_EXAMPLES, NUM_EXAMPLES)]
        opened.select(statement).fetch()
        assert opened.select("SELECT count(path) FROM corpus").fetch() == [(NUM_EXAMPLES,)]


def test_a_run_without_generations_still_has_its_corpus_and_checkpoints(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    assert answer(workspace, "SELECT count(*) FROM corpus") == [(NUM_EXAMPLES,)]
    assert answer(workspace, "SELECT count(*) FROM quarantine") == [(0,)]
    assert answer(workspace, "FROM generations") == answer(workspace, "FROM checkpoints") == []
    for every in (False, True):
        with pytest.raises(InputError, match="has no generation yet"):
            answer(workspace, "FROM triplets", every=every)


def test_an_empty_generation_is_an_empty_view(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    publish_generation(workspace, 0, TRIPLETS.empty_table())
    assert answer(workspace, "FROM triplets") == []
    assert answer(workspace, "SELECT count(*), avg(margin) FROM triplets") == [(0, None)]
