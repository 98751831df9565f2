"""Submits a job to a Ray cluster under an id, follows it, and ends as it ended: for cron, Kubernetes and Airflow.

    RAY_ADDRESS=http://127.0.0.1:8265 RAY_AUTH_MODE=token python infra/submit.py --id refresh-2026-11-22 -- \
        python -m jobs.mine --config run.yaml

A submission under an id that stands already starts nothing: it follows that job, so any number of them is one job. It
needs Python and ``ray[default]`` only. The token comes from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.
"""

import argparse
import asyncio
import logging
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

REFUSED, UNAVAILABLE, STOPPED = 2, 4, 130
EXIT_CODES = f"""exit codes: the job's own where it succeeded (0) or failed, and
  {REFUSED}    another command stands under this id, or the cluster refuses the submission or the token
  {UNAVAILABLE}    the cluster did not answer for --patience-s
  {STOPPED}  the job was stopped; or, with --leave-running, only this was"""
POLL_S, STOP_WAIT_S = 1.0, 60.0
ERRORS = (OSError, RuntimeError, ValueError, requests.RequestException, aiohttp.ClientError, AuthenticationError)
ADVICE = "submit the same command under a new id; it goes on from what was published"

T = TypeVar("T")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="submit.py",
        usage="%(prog)s --id ID [options] -- COMMAND ...",
        description="Submits COMMAND to the Ray cluster at $RAY_ADDRESS, once for each ID, and follows it to its end.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "--id", required=True, type=_id, help="submission id; where it stands already, that job is followed"
    )
    made.add_argument("--working-dir", help="folder to upload and run in; without it, the code of the image runs")
    made.add_argument("--num-cpus", type=float, default=0.0, help="CPUs for COMMAND itself, its actors apart")
    made.add_argument("--num-gpus", type=float, default=0.0, help="the same of GPUs")
    made.add_argument("--leave-running", action="store_true", help="SIGTERM and Ctrl-C end this, and not the job")
    made.add_argument("--patience-s", type=float, default=120.0, help="longest wait for a cluster that does not answer")
    made.add_argument("command", nargs="+", metavar="COMMAND", help="what to run on the cluster")
    return made


def main() -> int:
    """Submits, follows; returns the exit code."""
    options = parser().parse_args()
    logging.getLogger(JobSubmissionClient.__module__).setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    submission = Submission(options)
    try:
        try:
            return submission.run()
        except KeyboardInterrupt:
            return submission.interrupted()
    except ERRORS as error:
        _say(f"error: {options.id}: {_first_line(error)}")
        if _is_refusal(error):
            return REFUSED
        _say("check RAY_ADDRESS and the cluster; the same command goes on where this one was")
        return UNAVAILABLE


class Submission:
    """One job, and how much of its log was shown."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._id, self._entrypoint = options, str(options.id), shlex.join(options.command)
        self._client: JobSubmissionClient | None = None
        self._num_shown = 0

    def run(self) -> int:
        """Submits the job unless it stands, and follows it; returns the exit code."""
        details = self._patiently(self._submitted)
        if details.entrypoint != self._entrypoint:
            _say(f"error: {self._id} stands for another command ({details.entrypoint}): choose another --id")
            return REFUSED
        if details.status.is_terminal():
            _say(f"{self._id} has run before; `ray job logs {self._id}` shows what it said")
        else:
            _say(f"following {self._id}")
        while not (details := self._patiently(self._look)).status.is_terminal():
            time.sleep(POLL_S)
        return self._outcome(details)

    def interrupted(self) -> int:
        """Stops the job, or leaves it; returns the exit code."""
        if self._client is None or self._find(self._client) is None:
            return STOPPED
        if self._options.leave_running:
            _say(f"{self._id} goes on: `ray job logs --follow {self._id}`, `ray job stop {self._id}`")
            return STOPPED
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # whoever cannot wait has SIGKILL
        _say(f"stopping {self._id}")
        self._client.stop_job(self._id)
        deadline = time.monotonic() + STOP_WAIT_S
        while not (details := self._client.get_job_info(self._id)).status.is_terminal():
            if time.monotonic() > deadline:  # a job that still waits for its CPUs is stopped when it gets them
                _say(f"{self._id} was told to stop and is {details.status} yet: see `ray job status {self._id}`")
                return STOPPED
            time.sleep(POLL_S)
        asyncio.run(self._show(self._client))
        return self._outcome(details)

    def _submitted(self) -> JobDetails:
        self._client = client = self._client or JobSubmissionClient()
        if found := self._find(client):
            return found
        folder = self._options.working_dir
        try:
            client.submit_job(
                entrypoint=self._entrypoint,
                submission_id=self._id,
                runtime_env={"working_dir": folder} if folder else None,
                entrypoint_num_cpus=self._options.num_cpus,
                entrypoint_num_gpus=self._options.num_gpus,
            )
        except RuntimeError:  # somebody else was faster by a moment, or the answer to our own request was lost
            if found := self._find(client):
                return found
            raise
        return client.get_job_info(self._id)

    def _find(self, client: JobSubmissionClient) -> JobDetails | None:
        return next((job for job in client.list_jobs() if job.submission_id == self._id), None)

    def _outcome(self, details: JobDetails) -> int:
        if details.status == JobStatus.SUCCEEDED:
            _say(f"{self._id} succeeded")
            return 0
        if details.status == JobStatus.STOPPED:
            _say(f"{self._id} was stopped; to go on, {ADVICE}")
            return STOPPED
        code = details.driver_exit_code
        why = _first_line(details.message) if code is None else f"exit code {code}"
        _say(f"error: {self._id} failed ({why}); mend what its log says, then {ADVICE}")
        return code if code is not None and code > 0 else 1

    def _look(self) -> JobDetails:
        assert self._client is not None
        details = self._client.get_job_info(self._id)
        if not details.status.is_terminal():
            asyncio.run(self._show(self._client))
        return details

    async def _show(self, client: JobSubmissionClient) -> None:
        """Shows what is new of the log; it is sent from its beginning each time, as after a broken connection."""
        num_read = 0
        async for words in client.tail_job_logs(self._id):
            sys.stdout.write(words[max(self._num_shown - num_read, 0) :])
            sys.stdout.flush()
            num_read += len(words)
            self._num_shown = max(self._num_shown, num_read)

    def _patiently(self, action: Callable[[], T]) -> T:
        """Repeats what fails while the cluster does not answer: its agents are starting, or a tunnel is down."""
        deadline = time.monotonic() + self._options.patience_s
        while True:
            try:
                return action()
            except ERRORS as error:
                if _is_refusal(error) or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_S)


def _id(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", word):
        raise argparse.ArgumentTypeError(f"{word!r}: letters, digits, dots, dashes and underscores only")
    return word


def _is_refusal(error: Exception) -> bool:
    # The client has no other sign for an answer of 4xx than its words.
    if isinstance(error, RuntimeError) and "status code 4" in str(error):
        return True
    is_network = isinstance(error, (OSError, requests.RequestException))
    return isinstance(error, (AuthenticationError, ValueError)) and not is_network


def _first_line(words: object) -> str:
    return next(iter(str(words).strip().splitlines()), "no message")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
