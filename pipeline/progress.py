"""Progress that a person can follow: a bar on a terminal, plain lines elsewhere, always on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
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


class StageProgress:
    """Counts of one stage. Use as ``with stage("embed", total, "examples") as done: done(256)``."""

    def __init__(self, name: str, total: int | None, unit: str, progress: Progress | None) -> None:
        self._name, self._total, self._unit, self._progress = name, total, unit, progress
        self._task = progress.add_task(name, total=total, rate="") if progress else None
        self._start = self._last_line = time.monotonic()
        self._count = 0
        self._note = ""

    def __call__(self, advance: int = 1, note: str = "") -> None:
        """Adds ``advance`` units; ``note`` (a loss, a shard) is shown beside the count."""
        self._count += advance
        self._note = note or self._note
        now = time.monotonic()
        if self._progress is not None and self._task is not None:
            rate = f"{self._rate(now)} {self._note}".strip()
            self._progress.update(self._task, completed=self._count, rate=rate)
        elif now - self._last_line >= LINE_INTERVAL_S:
            self._last_line = now
            say(self._line(now))

    def _rate(self, now: float) -> str:
        return f"{self._count / max(now - self._start, 1e-9):,.0f} {self._unit}/s"

    def _line(self, now: float) -> str:
        elapsed = now - self._start
        of = f"/{self._total:,}" if self._total is not None else ""
        line = f"{self._name}: {self._count:,}{of} {self._unit}, {self._rate(now)}"
        if self._total and 0 < self._count < self._total:
            line += f", {elapsed * (self._total - self._count) / self._count:.0f} s left"
        return f"{line} {self._note}".rstrip()

    def close(self) -> None:
        """Says the final count and time."""
        now = time.monotonic()
        if self._progress is None:
            say(f"{self._line(now)} — done in {now - self._start:.1f} s")


def say(message: str) -> None:
    """One line for a person, on stderr: stdout belongs to ``--json``."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(plain_text(message))


def plain_text(text: str) -> Text:
    """Text as it is: no markup, and nothing that a terminal would act on, whatever labels and paths are called."""
    return Text("".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text))


@contextmanager
def stage(name: str, total: int | None, unit: str) -> Iterator[StageProgress]:
    """Shows one stage until the block ends.

    Args:
        name: What runs, as a person calls it.
        total: Units in all, or None where unknown (a stream).
        unit: Plural name of a unit.
    """
    if not sys.stderr.isatty():
        progress = StageProgress(name, total, unit, None)
        yield progress
        progress.close()
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield StageProgress(name, total, unit, bar)
