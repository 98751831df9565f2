"""Fixtures that several modules share."""

import shutil
from pathlib import Path

import pytest

from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.storage.workspace import Workspace
from tests.unit.inspection.command_line import Ended, RunTriplets, run_triplets
from tests.unit.inspection.mined_samples import mined


@pytest.fixture
def triplets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunTriplets:
    """Runs a command of jobs.triplets by its command line."""

    def run(*arguments: object) -> Ended:
        return run_triplets(monkeypatch, capsys, *arguments)

    return run


@pytest.fixture(scope="package")
def mined_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a mined generation, to be copied."""
    folder = tmp_path_factory.mktemp("mined")
    mined(str(folder / "w"), folder)
    return folder


@pytest.fixture
def sound(mined_once: Path, tmp_path: Path) -> OpenGeneration:
    """A mined generation in ``tmp_path / "w"``, with all that it was mined from, for a test to spoil."""
    shutil.copytree(mined_once, tmp_path, dirs_exist_ok=True)
    return open_generation(Workspace.open(str(tmp_path / "w"), "main"))
