import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobs.graceful_shutdown import graceful_shutdown
from tests.support.jobs import ROOT

TERMINATED, INTERRUPTED = 143, 130
WORDS = "stopped; run the same command to go on"
NAP_S, LONG_S = 0.4, 30.0
PROGRAM = """
import os, signal, sys, time
from jobs.graceful_shutdown import graceful_shutdown

def tell(words):
    print(words, flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background jobs inherit that it is ignored

with graceful_shutdown():
    try:
        tell("at work")
        {work}
    finally:
        {end}
        tell("given up")
tell("behind the block")
"""


@contextmanager
def program(work: str, end: str = "pass", *before: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that is at its work, in such a block."""
    command = [*before, sys.executable, "-c", PROGRAM.format(work=work, end=end)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        try:
            yield process
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    assert process.stdout is not None and process.stderr is not None
    words, errors = process.stdout.read(), process.stderr.read()
    return process.wait(), words, errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)])
def test_a_stopped_program_gives_up_what_it_holds_and_says_that_it_can_go_on(number: int, code: int) -> None:
    with program(f"time.sleep({LONG_S})") as process:
        process.send_signal(number)
        assert ended(process) == (code, "given up\n", f"{WORDS}\n")


@pytest.mark.parametrize(
    ("pause_s", "end_s", "expected"),
    [(0.0, NAP_S, (TERMINATED, "given up\n", f"{WORDS}\n")), (2 * NAP_S, LONG_S, (TERMINATED, "", ""))],
    ids=["at once", "later"],
)
def test_two_signals_at_once_count_as_one_stop_and_a_second_stop_ends_it_at_once(
    pause_s: float, end_s: float, expected: tuple[int, str, str]
) -> None:
    with program(f"time.sleep({LONG_S})", f"tell('giving up'); time.sleep({end_s})") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None and process.stdout.readline() == "giving up\n"
        time.sleep(pause_s)
        process.send_signal(signal.SIGTERM)
        assert ended(process) == expected


def test_the_command_timeout_stops_it_in_an_orderly_way() -> None:
    with program(f"time.sleep({LONG_S})", f"time.sleep({NAP_S})", "timeout", "--preserve-status", "2") as process:
        assert ended(process) == (TERMINATED, "given up\n", f"{WORDS}\n")


def test_a_stop_is_not_lost_where_python_drops_exceptions() -> None:
    tidy = "type('Tidied', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGTERM)})()"
    with program(f"one = {tidy}; del one; tell('dropped'); time.sleep({LONG_S})") as process:
        code, words, errors = ended(process)
    assert (code, errors) == (TERMINATED, f"{WORDS}\n")
    assert words == "dropped\ngiven up\n"


def test_what_breaks_because_of_a_stop_is_no_error_of_its_own() -> None:
    work = f"""
        try:
            time.sleep({LONG_S})
        except KeyboardInterrupt:
            raise RuntimeError("a library says: interrupted")
    """
    with program(work.strip(), "1 / 0") as process:
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (TERMINATED, "", f"{WORDS}\n")


def test_other_errors_pass_and_nothing_stays_behind() -> None:
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    with pytest.raises(ValueError, match="as it was"), graceful_shutdown():
        assert signal.getsignal(signal.SIGTERM) != before[0]
        raise ValueError("as it was")
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


def test_exceptions_that_python_drops_for_other_reasons_are_shown_as_ever() -> None:
    broken = "type('Broken', (), {'__del__': lambda self: 1 / 0})()"
    with program(f"one = {broken}; del one") as process:
        code, words, errors = ended(process)
    assert (code, words) == (0, "given up\nbehind the block\n") and "ZeroDivisionError" in errors
