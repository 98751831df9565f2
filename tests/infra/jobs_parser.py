"""A job's own command line, parsed and judged by the job itself, which then does nothing."""

import argparse
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import jobs.cli
from pipeline.config import RunConfig
from tests.infra.files import RUN_YAML, run_yaml
from tests.support.jobs import ROOT


def accepted_config(words: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """The config that the job would run with; fails where it would refuse its command line.

    Args:
        words: ``python -m jobs.NAME …``.
        folder: An empty one, for the config file that nodes have elsewhere.
        monkeypatch: Puts everything back.
    """
    assert list(words[:2]) == ["python", "-m"], words
    name = words[2].removeprefix("jobs.")
    assert (ROOT / f"jobs/{name}.py").is_file(), f"there is no job {name}"
    config_file = folder / "run.yaml"
    config_file.write_text(run_yaml())
    arguments = [str(config_file) if word in {RUN_YAML, "run.yaml"} else word for word in words[3:]]
    seen: list[RunConfig] = []

    def look_only(config: RunConfig, _: argparse.Namespace) -> dict[str, Any]:
        seen.append(config)
        return {}

    whole: Callable[..., None] = jobs.cli.run_job
    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", [f"jobs/{name}.py", *arguments])
        patch.setattr(jobs.cli, "run_job", lambda words, body, *flags: whole(words, look_only, *flags))
        patch.delenv("RAY_ADDRESS", raising=False)
        runpy.run_module(words[2], run_name="__main__")
    return seen[0]
