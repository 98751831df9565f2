"""Runs jobs one after the other, with their modules imported already: ``python -m tests.faults.job_server NAME...``.

A line of JSON on standard input, ``[name, argument, ...]``, starts a job in a fork; the answers on standard output are
its process id and, once it has ended, its exit code. What it says goes to standard error. Ends with its standard input.
"""

import importlib
import json
import os
import runpy
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.jobs import ROOT


class JobServer:
    """Such a process, for as long as the ``with`` block takes."""

    def __init__(self, log: Path, environ: Mapping[str, str], *names: str) -> None:
        """Starts it.

        Args:
            log: Gets what the jobs say.
            environ: Their environment.
            *names: Of the jobs; others take a little longer to start.
        """
        self.log = log
        command = [sys.executable, "-m", "tests.faults.job_server", *names]
        with log.open("wb") as words:  # unbuffered: what is not read yet is left to ``select``
            self._process = subprocess.Popen(
                command, bufsize=0, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words
            )

    def start(self, name: str, *arguments: str | Path) -> int:
        """Starts a job; returns its process id."""
        _pipe(self._process.stdin).write(json.dumps([name, *map(str, arguments)]).encode() + b"\n")
        return int(_pipe(self._process.stdout).readline())

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits for the job's end; returns its exit code, negative where a signal ended it, or None in time."""
        answers = _pipe(self._process.stdout)
        return int(answers.readline()) if select.select([answers], [], [], timeout_s)[0] else None

    def run(self, name: str, *arguments: str | Path) -> tuple[int, str]:
        """Runs a job to its end; returns its exit code and its words."""
        before = self.log.stat().st_size
        self.start(name, *arguments)
        code = self.wait()
        assert code is not None
        return code, self.log.read_bytes()[before:].decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _pipe(self._process.stdin).close()
        self._process.wait(60)
        _pipe(self._process.stdout).close()


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    assert end is not None
    return end


def main() -> None:
    """Serves."""
    for name in sys.argv[1:]:
        importlib.import_module(f"jobs.{name}")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        name, *arguments = json.loads(line)
        process = os.fork()
        if process == 0:
            sys.argv = [f"jobs/{name}.py", *arguments]
            runpy.run_module(f"jobs.{name}", run_name="__main__")
            return
        answers.write(b"%d\n" % process)
        answers.write(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


if __name__ == "__main__":
    main()
