"""Measuring, exporting and sweeping through the command line, on real Ray processes."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.jobs import TINY, parquet, run, succeed

SMALL = (
    *TINY,
    "--corpus.test_fraction=0.4",
    "--evaluation.robustness.jpeg_qualities=[10,90]",
    "--evaluation.robustness.image_sizes=[8]",
    "--evaluation.robustness.blur_radii=[2.0]",
    "--evaluation.robustness.occlusions=[0.2]",
    "--evaluation.robustness.noise_levels=[20.0]",
    "--evaluation.num_splits=2",
)
PROTOCOLS = (
    "verification",
    "retrieval",
    "clustering",
    "recognition",
    "identification",
    "robustness",
    "quantisation",
    "pictures",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of three checkpoints, in-batch, and one of another embedding size."""
    workspace = tmp_path_factory.mktemp("evaluate")
    succeed("prepare", *SMALL, "--workspace", workspace)
    online = (*SMALL, "--workspace", workspace, "--training.source=online")
    succeed("train", *online, "--training.num_steps=4")
    succeed("train", *online, "--training.num_steps=2", "--run=short", "--encoder.embedding_dim=32")
    return workspace


def test_every_protocol_leaves_its_figures_and_checkpoints_of_two_shapes_stand_side_by_side(trained: Path) -> None:
    everything = ("--checkpoint", "short", "all", "--protocol", "all")
    finished = succeed("evaluate", *SMALL, "--workspace", trained, *everything)
    words = " ".join(finished.words.split())
    assert "left out: lfw, since" in words and "left out: harmonic, since" in words
    evaluations = finished.report["evaluations"]
    assert list(evaluations["main step 4"]["protocols"]) == list(PROTOCOLS)
    assert list(evaluations) == ["short step 2", "main untrained", "main step 2", "main step 4"]
    folder = trained / "runs/main/evaluation/000000004"
    for protocol in PROTOCOLS:
        document = json.loads((folder / f"{protocol}.json").read_text())
        assert document["checkpoint"] == "main step 4" and document["num_trained_labels"] == 0
        assert document.items() >= evaluations["main step 4"]["protocols"][protocol].items()
    metrics = evaluations["main step 4"]
    expected = {
        "val_at_far_1e-03", "eer", "recall_at_1", "map_at_r", "knn_1_accuracy", "val_at_far_1e-03_jpeg_10",
        "recall_at_1_int8",
    }  # fmt: skip
    assert metrics.keys() >= expected
    for name in finished.report["pictures"]:
        assert Path(name).read_bytes().startswith(b"\x89PNG")
    drawn = {Path(name).name for name in finished.report["pictures"]}
    assert drawn >= {"verification.png", "robustness.png", "projection.png", "worst-pairs.png", "learning-curve.png"}
    assert "| val_at_far_1e-03 |" in (folder / "report.md").read_text()


def test_labels_that_training_has_seen_are_refused_unless_that_is_wanted(trained: Path) -> None:
    everything = (
        *SMALL, "--workspace", trained, "--evaluation.examples=all", "--checkpoint", "latest",
        "--protocol", "retrieval",
    )  # fmt: skip
    refused = run("evaluate", *everything)
    assert refused.code == 2 and "main step 4 was trained on" in refused.words
    allowed = succeed("evaluate", *everything, "--evaluation.allow_trained_labels=true")
    assert "WARNING: main step 4 was trained on" in " ".join(allowed.words.split())
    document = json.loads((trained / "runs/main/evaluation/000000004/all/retrieval.json").read_text())
    assert document["num_trained_labels"] > 0 and document["examples"] == "all"


def test_lfw_without_its_files_and_harmonic_without_an_old_encoder_are_explained(trained: Path) -> None:
    for protocol, words in (("lfw", "set evaluation.lfw.folder"), ("harmonic", "name one with evaluation.against")):
        refused = run("evaluate", *SMALL, "--workspace", trained, "--checkpoint", "latest", "--protocol", protocol)
        assert refused.code == 2 and words in " ".join(refused.words.split())


@pytest.mark.slow
def test_exported_int8_vectors_can_be_measured_where_the_images_are_no_more(trained: Path, tmp_path: Path) -> None:
    exported = succeed("export", *SMALL, "--workspace", trained, "--checkpoint=4", "--dtype=int8").report
    files = sorted(Path(exported["uri"]).glob("*.parquet"))
    table = pq.read_table(files)
    assert len(table) == exported["num_examples"] and exported["num_bytes"] == 128 * len(table)
    assert np.array_equal(table["example_id"].to_numpy(), np.arange(len(table)))
    vectors = ("--workspace", tmp_path, "--encoder.name=identity", "--corpus.test_fraction=0.4")
    succeed("prepare", *vectors, *parquet(exported["uri"]))
    succeed("mine", *vectors, "--cluster.num_actors=1")
    alone = succeed("evaluate", *vectors, "--cluster.num_actors=1", "--checkpoint=latest").report["evaluations"]
    before = succeed("evaluate", *SMALL, "--workspace", trained, "--checkpoint=4").report["evaluations"]
    assert alone["main untrained"]["roc_auc"] == pytest.approx(before["main step 4"]["roc_auc"], abs=2e-3)


def test_a_sweep_trains_a_run_for_each_value_and_is_not_trained_again(trained: Path) -> None:
    sweep = (
        "sweep", *SMALL, "--workspace", trained, "--training.source=online",
        "--over=embedding_dim", "--values", "16", "32", "--seeds=2", "--images=48",
    )  # fmt: skip
    first = succeed(*sweep)
    assert [row["value"] for row in first.report["rows"]] == [16.0, 32.0]
    assert all("standard_errors" in row for row in first.report["rows"])
    assert (trained / "sweeps/embedding_dim/sweep.png").read_bytes().startswith(b"\x89PNG")
    results = sorted((trained / "sweeps/embedding_dim/results").iterdir())
    assert len(results) == 4
    before = [path.stat().st_mtime_ns for path in results]
    assert succeed(*sweep).report == first.report
    assert [path.stat().st_mtime_ns for path in results] == before
