"""Bad input answers with one clear sentence and exit code 2, and loses nothing."""

import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from jobs.cli import Report, run_job
from tests.support.jobs import call
from tests.support.s3_server import S3Server
from tests.unit.corpus.samples import png, write_folder


class Ended(NamedTuple):
    """How a job ended: exit code, standard output, and what it said to people."""

    code: int
    out: str
    words: str


def job(name: str, *arguments: str | Path) -> Ended:
    """Runs a job in this process, by its command line."""
    words = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        return Ended(*call(name, *arguments, stderr=words), words.getvalue())


def assert_refused(ended: Ended, *expected: str) -> None:
    assert ended.code == 2, ended.words
    assert ended.out == ""
    lines = [line for line in ended.words.strip().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and ended.words.strip().splitlines()[-1] == lines[0], ended.words
    for words in expected:
        assert words in lines[0], lines[0]


def test_an_unknown_key_in_the_file_or_on_the_command_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training: {nun_steps: 5}\n")
    assert_refused(job("mine", "--config", file), "run.yaml", "training.nun_steps")
    ended = job("mine", "--training.nun_steps", "5")
    assert_refused(ended, "command line", "did you mean --training.num_steps?")
    assert_refused(job("mine", "--config", file.with_name("none.yaml")), "none.yaml")
    file.write_text("mining: {band: {margin: 0.2}}\n")
    assert_refused(job("mine", "--config", file, "--mining.band.mode=semihard"), "command line: mining.band.mode")
    assert_refused(job("mine", "--transform.channels", "4"), "command line: transform.channels", "1 or 3 (got 4)")


def test_a_number_of_channels_is_taken_from_the_command_line(tmp_path: Path) -> None:
    few = ("--corpus.source.glyphs.max_labels=20", "--corpus.source.glyphs.image_size=16")
    assert job("prepare", "--workspace", tmp_path, *few, "--transform.channels", "3").code == 0


def test_missing_paths_are_named(tmp_path: Path) -> None:
    assert_refused(job("prepare", "--config", tmp_path / "none.yaml"), "none.yaml")
    flags = ("--workspace", tmp_path / "w", "--corpus.source.kind=image_folder")
    assert_refused(job("prepare", *flags, "--corpus.source.path", tmp_path / "nowhere"), "nowhere")
    assert_refused(job("prepare", *flags), "corpus.source.path")


def test_values_out_of_range_and_wrong_combinations_are_explained() -> None:
    assert_refused(job("mine", "--mining.band.margin=-1"), "mining.band.margin", "greater than 0")
    assert_refused(job("mine", "--mining.backend=triton"), "gpus_per_actor", "native")
    assert_refused(job("mine", "--mining.band.mode=range", "--mining.band.low=2", "--mining.band.high=1"), "below")
    assert_refused(job("train", "--training.device=cuda"), "cluster.gpus_per_trainer")


def test_the_command_line_wins_over_the_file_and_null_means_none(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"workspace: {tmp_path}/w\ncorpus: {{source: {{glyphs: {{max_labels: 5}}}}, test_fraction: 0.5}}\n")
    flags = ("--corpus.test_fraction=0", "--mining.positives.max_per_anchor=null", "--json")
    report = json.loads(job("prepare", "--config", file, *flags).out)
    assert report["corpus"]["num_labels"] == 5 and report["corpus"]["test_fraction"] == 0


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([], "no usable image"),
        (["ann/1.png", "ann/2.png"], "only one label"),
        (["ann/1.png", "bob/1.png"], "two examples"),
    ],
)
def test_a_corpus_that_cannot_form_a_triplet_is_refused_and_nothing_published(
    tmp_path: Path, images: list[str], expected: str
) -> None:
    source, workspace = tmp_path / "people", tmp_path / "w"
    source.mkdir()
    write_folder(source, dict.fromkeys(images, png()))
    flags = ("--workspace", workspace, "--corpus.source.kind=image_folder", "--corpus.source.path", source)
    assert_refused(job("prepare", *flags), expected)
    assert not list(workspace.rglob("manifests/*")) and not list(workspace.rglob("*.parquet"))


def test_a_relative_workspace_on_a_cluster_is_refused() -> None:
    flags = ("--workspace=build/w", "--cluster.address=auto")
    assert_refused(job("mine", *flags), "relative", "absolute path that every node sees")


def test_a_workspace_without_a_corpus_says_what_to_run(tmp_path: Path) -> None:
    for name in ("mine", "train", "loop", "evaluate"):
        assert_refused(job(name, "--workspace", tmp_path / name), "jobs.prepare")


def test_a_workspace_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_text("not a folder")
    for place in (file, file / "below", Path("/proc/motherlode")):
        for name in ("prepare", "mine"):
            assert_refused(job(name, "--workspace", place), str(place))
    assert file.read_text() == "not a folder"


def test_the_doctor_finds_a_new_workspace_healthy_and_names_what_is_not(tmp_path: Path) -> None:
    healthy = job("doctor", "--workspace", tmp_path / "w", "--json")
    assert healthy.code == 0 and "run jobs.prepare" in json.loads(healthy.out)["contents"]
    assert_refused(job("doctor", "--workspace", tmp_path / "w", "--encoder.name=none"), "'none' is not known")


def test_wrong_s3_credentials_are_refused_without_showing_them(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    ended = job("prepare", "--workspace", f"s3://{s3_environment.bucket}/w")
    assert_refused(ended, s3_environment.bucket)
    assert "a-wrong-secret" not in ended.words


def test_vectors_for_an_image_encoder_and_images_for_none_are_refused(tmp_path: Path) -> None:
    flags = ("--workspace", tmp_path / "w", "--corpus.source.glyphs.max_labels=5", "--corpus.test_fraction=0")
    assert job("prepare", *flags).code == 0
    assert_refused(job("loop", *flags, "--training.source=random"), "jobs.train")
    assert_refused(job("mine", *flags, "--encoder.name=identity"), "the corpus holds images")
    assert_refused(job("prepare", *flags, "--corpus.source.kind=parquet"), "corpus.source.path")


def test_nothing_but_the_report_reaches_stdout(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> Report:
        print("as Ray does where an actor dies")
        return {"published": True}

    monkeypatch.setattr(sys, "argv", ["jobs/mine.py", "--json"])
    run_job("A job.", run)
    captured = capfd.readouterr()
    assert json.loads(captured.out) == {"published": True}
    assert "an actor dies" in captured.err
