"""Runs jobs as a user does: one process each, through the command line."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

TINY = (
    "--corpus.source.glyphs.max_labels=60",
    "--corpus.examples_per_part=150",
    "--corpus.source.glyphs.image_size=16",
    "--transform.height=16",
    "--transform.width=16",
    "--training.batch.num_labels=8",
    "--training.batch.images_per_label=3",
    "--training.num_steps=6",
    "--training.steps_per_round=2",
    "--cluster.anchors_per_block=100",
    "--cluster.num_actors=1",
)
"""A corpus of some 700 images, and three rounds of two steps."""


@dataclass(frozen=True)
class Finished:
    """A job that has ended."""

    code: int
    report: dict[str, Any]
    words: str


def command(name: str, *arguments: str | Path) -> list[str]:
    """The command line of a job."""
    return [sys.executable, "-m", f"jobs.{name}", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without a cluster that it may be part of."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | more


def run(name: str, *arguments: str | Path, timeout_s: float = 280, **environ: str) -> Finished:
    """Runs a job to its end."""
    done = subprocess.run(
        [*command(name, *arguments), "--json"],
        cwd=ROOT,
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    report = json.loads(done.stdout) if done.returncode == 0 else {}
    return Finished(done.returncode, report, done.stderr)


def succeed(name: str, *arguments: str | Path, timeout_s: float = 280, **environ: str) -> Finished:
    """Runs a job that must succeed."""
    finished = run(name, *arguments, timeout_s=timeout_s, **environ)
    assert finished.code == 0, finished.words
    return finished
