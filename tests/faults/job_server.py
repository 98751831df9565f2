"""Runs jobs one after the other, with everything imported already: ``python -m tests.faults.job_server``.

A line of JSON on standard input, ``[name, argument, ...]``, starts a job in a fork; the answers on standard output are
its process id and, once it has ended, its exit code. What it says goes to standard error. Ends with its standard input.
"""

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

    def __init__(self, log: Path, environ: Mapping[str, str]) -> None:
        """Starts it.

        Args:
            log: Gets what the jobs say.
            environ: Their environment.
        """
        self.log = log
        command = [sys.executable, "-m", "tests.faults.job_server"]
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
    import jobs.loop
    import jobs.mine  # noqa: F401 — what takes the time

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
