import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from rich.table import Table

from pipeline import progress
from pipeline.progress import configure_logging, listening, log, log_table, stage, stopwatch


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a process chooses once, the next test shall not find."""
    root, handlers, hook = logging.getLogger(), logging.getLogger().handlers[:], sys.excepthook
    yield
    configure_logging("text", "", "")
    logging.captureWarnings(False)
    root.handlers[:], sys.excepthook = handlers, hook


def lines(captured: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, words = captured.readouterr()
    assert out == ""
    return [json.loads(line) for line in words.splitlines()]


def test_a_line_of_json_says_when_how_bad_and_of_which_run(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "mine", "second")
    log("generation 3 — published\nin [bold]a folder[/bold]", rate=2.5)
    (line,) = lines(capsys)
    time = datetime.fromisoformat(line.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert line == {
        "level": "info",
        "job": "mine",
        "run": "second",
        "message": "generation 3 — published\nin [bold]a folder[/bold]",
        "rate": 2.5,
    }


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("error: no such file: x", "error"),
        ("WARNING: refused by the audit", "warning"),
        ("warning: nothing is kept", "warning"),
        ("note: another corpus", "info"),
        ("errors of the past", "info"),
    ],
)
def test_the_first_word_is_the_level(message: str, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "mine", "main")
    log(message)
    assert lines(capsys)[0]["level"] == level


def test_a_stage_carries_its_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.0)
    configure_logging("json", "mine", "main")
    with stage("embed step 4", 12, "examples") as advance:
        advance(5, "part 1")
        advance(7)
    figures = [{key: line[key] for key in ("stage", "count", "total", "unit")} for line in lines(capsys)]
    every = {"stage": "embed step 4", "total": 12, "unit": "examples"}
    assert figures == [every | {"count": count} for count in (5, 12, 12)]


def test_a_stage_is_json_on_a_terminal_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("json", "mine", "main")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with stage("mine", 1, "anchors") as advance:
        advance()
    assert [line["count"] for line in lines(capsys)] == [1]


def test_tables_records_and_warnings_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "evaluate", "main")
    table = Table("recall")
    table.add_row("0.946")
    log_table(table)
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("pipeline.some").exception("the report failed")
    warnings.warn("old", stacklevel=1)
    shown, record, warning = lines(capsys)
    assert "recall" in shown["message"] and "0.946" in shown["message"]
    assert (record["level"], record["logger"], record["message"]) == ("error", "pipeline.some", "the report failed")
    assert "ValueError: odd" in record["traceback"]
    assert warning["level"] == "warning" and "old" in warning["message"]


def test_an_error_that_nobody_foresaw_is_json_too() -> None:
    code = 'from pipeline.progress import configure_logging; configure_logging("json", "mine", "main"); {}["missing"]'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    line = json.loads(done.stderr)
    assert done.returncode == 1 and line["level"] == "error" and line["message"] == "KeyError: 'missing'"
    assert line["traceback"].startswith("Traceback (most recent call last)")


def test_text_stays_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text", "mine", "main")
    with stage("embed step 4", 12, "examples") as advance:
        advance(12)
    log("error: \x1b[31mno")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("embed step 4: 12/12 examples, ") and " — done in " in first
    assert second == r"error: \x1b[31mno"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_who_listens_to_stages_hears_every_unit_and_all_of_the_time(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    told: list[tuple[str, str, int, float]] = []
    with (
        listening(lambda *words: told.append(words)),
        stopwatch() as seconds,
        stage("embed step 4", 12, "examples") as advance,
    ):
        now = 103.0
        advance(5)
        now = 104.0
        advance(7)
        now = 104.5
    assert seconds == {"embed": 4.5}
    with stage("mine", 1, "anchors") as advance:
        advance()
    assert told == [
        ("embed", "examples", 5, 3.0),
        ("embed", "examples", 7, 1.0),
        ("embed", "examples", 0, 0.5),
    ]


def test_a_stopwatch_adds_up_the_stages_that_end_while_it_runs() -> None:
    with stage("embed step 0", 1, "examples"):
        pass
    with stopwatch() as seconds:
        for name in ("mine step 0", "mine step 1", "audit"):
            with stage(name, 1, "anchors"):
                time.sleep(0.02)
    with stage("audit", 1, "examples"):
        time.sleep(0.02)
    assert set(seconds) == {"mine", "audit"} and seconds["mine"] >= 0.04 and 0.02 <= seconds["audit"] < seconds["mine"]
