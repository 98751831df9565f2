"""Runs a command of jobs.triplets in this process, by its command line."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, standard output, and what it said to people."""

    code: int
    out: str
    words: str

    @property
    def report(self) -> Any:  # noqa: ANN401 — whatever the command reports
        """What --json printed, without NaN, which is no JSON."""

        def refuse(constant: str) -> None:
            raise ValueError(constant)

        return json.loads(self.out, parse_constant=refuse)

    def assert_refused(self, words: str) -> None:
        """For a wrong command line: in one sentence, with these words in it."""
        assert self.code == 2 and self.out == ""
        assert self.words.startswith("error: ") and words in self.words and self.words.count("\n") == 1


RunTriplets = Callable[..., Ended]


def run_triplets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """Runs a command with these arguments, on a terminal 200 characters wide."""
    # Imported here: pytest keeps what fixtures reach to the very end, where DuckDB's binding warns of what is left.
    from jobs.cli import run_commands
    from jobs.triplets import COMMANDS

    monkeypatch.setattr(sys, "argv", ["jobs/triplets.py", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    capsys.readouterr()
    code = 0
    try:
        run_commands("", COMMANDS)
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        code = ended.code
    captured = capsys.readouterr()
    return Ended(code, captured.out, captured.err)
