"""Runs jobs by their command lines: in this process, or each in one of its own where the process is the point."""

import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 900  # a job that hangs; none takes so long


def glyphs(max_labels: int, image_size: int) -> tuple[str, str, str, str]:
    """Flags: drawn characters, which the encoder takes in their own size."""
    corpus = (f"--corpus.source.glyphs.max_labels={max_labels}", f"--corpus.source.glyphs.image_size={image_size}")
    return (*corpus, f"--transform.height={image_size}", f"--transform.width={image_size}")


def rounds(num_steps: int, steps_per_round: int) -> tuple[str, str]:
    """Flags: so many training steps, in rounds of so many."""
    return (f"--training.num_steps={num_steps}", f"--training.steps_per_round={steps_per_round}")


def batch(num_labels: int, images_per_label: int) -> tuple[str, str]:
    """Flags: the batch of a training step."""
    return (f"--training.batch.num_labels={num_labels}", f"--training.batch.images_per_label={images_per_label}")


def parquet(file: Path | str) -> tuple[str, str]:
    """Flags: a user's own Parquet file."""
    return ("--corpus.source.kind=parquet", f"--corpus.source.path={file}")


def vectors(file: Path) -> tuple[str, ...]:
    """Flags: a user's own vectors of 16 dimensions, mined as they are by one actor."""
    encoder = ("--encoder.name=identity", "--encoder.embedding_dim=16")
    return (*parquet(file), *encoder, "--corpus.test_fraction=0", "--cluster.num_actors=1")


TINY = (
    *glyphs(60, 16),
    *batch(8, 3),
    *rounds(6, 2),
    "--corpus.examples_per_part=150",
    "--training.threads_per_worker=1",
    "--cluster.anchors_per_block=100",
    "--cluster.num_actors=1",
)
"""A corpus of some 700 images, and three rounds of two steps."""


@dataclass(frozen=True)
class Finished:
    """A job that has ended.

    Attributes:
        code: Its exit code.
        report: What it printed on stdout, where it succeeded.
        words: What it said on stderr.
    """

    code: int
    report: dict[str, Any]
    words: str


def command(name: str, *arguments: str | Path) -> list[str]:
    """The command line of a job."""
    return [sys.executable, "-m", f"jobs.{name}", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without a cluster that it may be part of; Ray's workers run as fast as the tests."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return inherited | {"RAY_worker_niceness": "0"} | more


def run(name: str, *arguments: str | Path) -> Finished:
    """Runs a job to its end in this process, with the Ray that this process has started, if any."""
    words = io.StringIO()
    code, out = call(name, *arguments, "--json", stderr=words)
    return Finished(code, json.loads(out) if code == 0 else {}, words.getvalue())


def call(name: str, *arguments: str | Path, stderr: io.StringIO) -> tuple[int, str]:
    """Runs a job to its end in this process; returns its exit code and its stdout."""
    from pipeline.progress import configure_logging

    out = io.StringIO()
    code = 0
    with _command_line(f"jobs/{name}.py", *map(str, arguments)), redirect_stdout(out), redirect_stderr(stderr):
        try:
            runpy.run_module(f"jobs.{name}", run_name="__main__")
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        finally:
            configure_logging("text", "", "")
    return code, out.getvalue()


@contextmanager
def _command_line(*words: str) -> Iterator[None]:
    before, sys.argv = sys.argv, list(words)
    try:
        yield
    finally:
        sys.argv = before


def succeed(name: str, *arguments: str | Path) -> Finished:
    """Runs a job in this process that must succeed."""
    return _succeeded(run(name, *arguments))


def run_apart(name: str, *arguments: str | Path, **environ: str) -> Finished:
    """Runs a job to its end in a process of its own, with more in its environment."""
    done = subprocess.run(
        [*command(name, *arguments), "--json"],
        cwd=ROOT,
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    report = json.loads(done.stdout) if done.returncode == 0 else {}
    return Finished(done.returncode, report, done.stderr)


def succeed_apart(name: str, *arguments: str | Path, **environ: str) -> Finished:
    """Runs a job in a process of its own that must succeed."""
    return _succeeded(run_apart(name, *arguments, **environ))


def _succeeded(finished: Finished) -> Finished:
    assert finished.code == 0, finished.words
    return finished
