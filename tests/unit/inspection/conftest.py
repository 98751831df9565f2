"""Fixtures that several modules share."""

import pytest

from tests.unit.inspection.command_line import Ended, RunTriplets, run_triplets


@pytest.fixture
def triplets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunTriplets:
    """Runs a command of jobs.triplets by its command line."""

    def run(*arguments: object) -> Ended:
        return run_triplets(monkeypatch, capsys, *arguments)

    return run
