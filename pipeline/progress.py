"""Progress on stderr, for a person (a bar on a terminal, plain lines elsewhere) or a log collector (JSON)."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_INTERVAL_S = 5.0

Listener = Callable[[str, str, int, float], None]
"""Called with a stage: its kind (embed, mine, …), its unit, units done and seconds passed since its last call."""

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())
"""Called with the stages of this thread."""

_every_object: dict[str, str] = {}
"""What every JSON object carries; empty: lines are text."""


class StageProgress:
    """Counts of one stage. Use as ``with stage("embed", total, "examples") as advance: advance(256)``."""

    def __init__(self, name: str, total: int | None, unit: str, progress: Progress | None) -> None:
        self._name, self._total, self._unit, self._progress = name, total, unit, progress
        self._task = progress.add_task(name, total=total, rate="") if progress else None
        self._start = self._last_line = self._last_call = time.monotonic()
        self._count = 0
        self._note = ""

    def __call__(self, advance: int = 1, note: str = "") -> None:
        """Adds ``advance`` units; ``note`` (a loss, a shard) is shown beside the count."""
        self._count += advance
        self._note = note or self._note
        now = time.monotonic()
        self._call_listeners(advance, now)
        if self._progress is not None and self._task is not None:
            rate = f"{self._per_s(now):,.0f} {self._unit}/s {self._note}".strip()
            self._progress.update(self._task, completed=self._count, rate=rate)
        elif now - self._last_line >= LINE_INTERVAL_S:
            self._last_line = now
            self._log(now)

    def _call_listeners(self, advance: int, now: float) -> None:
        for listener in _listeners.get():
            listener(self._name.partition(" ")[0], self._unit, advance, now - self._last_call)
        self._last_call = now

    def _per_s(self, now: float) -> float:
        return self._count / max(now - self._start, 1e-9)

    def _log(self, now: float, end: str = "") -> None:
        elapsed, rate = now - self._start, self._per_s(now)
        of = f"/{self._total:,}" if self._total is not None else ""
        line = f"{self._name}: {self._count:,}{of} {self._unit}, {rate:,.0f} {self._unit}/s"
        if self._total and 0 < self._count < self._total:
            line += f", {elapsed * (self._total - self._count) / self._count:.0f} s left"
        figures = {"count": self._count, "total": self._total, "unit": self._unit, "rate": round(rate, 3)}
        log(f"{line} {self._note}".rstrip() + end, stage=self._name, **figures, elapsed_s=round(elapsed, 3))

    def close(self) -> None:
        """Logs the final count and time."""
        now = time.monotonic()
        self._call_listeners(0, now)
        if self._progress is None:
            self._log(now, f" — done in {now - self._start:.1f} s")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Calls a listener with this thread's stages inside the block."""
    before = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(before)


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Seconds of this thread's stages inside the block, by kind."""
    seconds: dict[str, float] = {}

    def add(kind: str, _unit: str, _advance: int, elapsed_s: float) -> None:
        seconds[kind] = seconds.get(kind, 0.0) + elapsed_s

    with listening(add):
        yield seconds


def log(message: str, **fields: str | float | None) -> None:
    """One line for a person, on stderr: stdout belongs to ``--json``.

    Args:
        message: The line. "error:" or "warning:" at its beginning is its level.
        fields: Figures of it, which a JSON object carries beside it.
    """
    if _every_object:
        word = message.partition(":")[0].lower()
        _write(word if word in ("error", "warning") else "info", message, fields)
    else:
        _console().print(plain_text(message))


def log_table(table: RenderableType) -> None:
    """A table for a person, on stderr; in JSON the text of it is one message."""
    if not _every_object:
        Console(stderr=True).print(table)
        return
    console = Console(width=200, color_system=None, file=sys.stderr)
    with console.capture() as captured:
        console.print(table)
    log(captured.get().rstrip())


def plain_text(text: str) -> Text:
    """Text as it is: no markup, and nothing that a terminal would act on, whatever labels and paths are called."""
    return Text("".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text))


def configure_logging(log_format: Literal["text", "json"], job: str, run: str) -> None:
    """Chooses how this process logs from now on: text, or one JSON object a line.

    In JSON, records of Python's logging, warnings and an error that nobody foresaw are such objects too.

    Args:
        log_format: Text or JSON.
        job: Its name, which every object carries.
        run: The run's, likewise.
    """
    _every_object.clear()
    if log_format == "text":
        return
    _every_object.update(job=job, run=run)
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.WARNING, handlers=[_JsonHandler()], force=True)
    sys.excepthook = _write_unforeseen


class _JsonHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        trace = {"traceback": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        _write(record.levelname.lower(), record.getMessage(), {"logger": record.name} | trace)


def _write_unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = logging.Formatter().formatException((kind, error, trace))
    _write("error", f"{kind.__name__}: {error}", {"traceback": text})


def _write(level: str, message: str, fields: dict[str, Any]) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "level": level, **_every_object, "message": message, **fields})
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def stage(name: str, total: int | None, unit: str) -> Iterator[StageProgress]:
    """Shows one stage until the block ends.

    Args:
        name: What runs, as a person calls it; the first word is its kind.
        total: Units in all, or None where unknown (a stream).
        unit: Plural name of a unit.
    """
    bar: Progress | None = None
    if sys.stderr.isatty() and not _every_object:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        bar = Progress(*columns, console=Console(stderr=True))
    with bar or nullcontext():
        progress = StageProgress(name, total, unit, bar)
        yield progress
        progress.close()
