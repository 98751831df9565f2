"""Jobs that a test disturbs while they run."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.jobs import ROOT, command, environment

EAGER = {"RAY_worker_niceness": "0"}
"""A Ray whose workers get as much of the processor as the tests."""


def start(name: str, *arguments: str | Path, environ: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Starts a job; what it says can be read from its stderr.

    Args:
        name: Of the job.
        *arguments: Its command line.
        environ: Added to this process's environment.
    """
    return subprocess.Popen(
        command(name, *arguments),
        cwd=ROOT,
        env=environment(**EAGER | dict(environ)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(job: "subprocess.Popen[str]", timeout_s: float = 600) -> tuple[int, str]:
    """Waits for a job's end; returns its exit code and its words."""
    _, words = job.communicate(timeout=timeout_s)
    return job.returncode, words
