"""What the cluster files and their page say: commands that jobs take, no secrets, no file that is not there."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.files import INFRA, SHIPPED, commands
from tests.infra.jobs_parser import accepted_config
from tests.support.jobs import ROOT

COMMANDS = sorted({" ".join(words) for path in SHIPPED for words in commands(path.read_text())})
SECRETS = {
    "an AWS key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a token": r"\b[0-9a-f]{40,}\b",
    "a token's value": r"RAY_AUTH_TOKEN[\"']?\s*[:=]\s*[\"']?[\w-]",
    "a key of AWS": r"(?i)aws_(secret_access_key|access_key_id|session_token)[\"']?\s*[:=]\s*\S",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_is_written_down_is_one_that_its_job_accepts(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted_config(command.split(), tmp_path, monkeypatch)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_holds_a_secret(path: Path) -> None:
    text = path.read_text()
    assert [name for name, pattern in SECRETS.items() if re.search(pattern, text)] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(path: Path) -> None:
    named = set(re.findall(r"\b(?:infra|tests|docs)/[\w./-]*\w", path.read_text()))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("arguments", [["--id", "a/b", "--", "true"], ["--", "true"], ["--id", "a"]])
def test_a_submission_that_says_too_little_is_refused_before_anything_is_asked(arguments: list[str]) -> None:
    parser = runpy.run_path(str(INFRA / "submit.py"))["parser"]()
    with pytest.raises(SystemExit) as refusal:
        parser.parse_args(arguments)
    assert refusal.value.code == 2


def test_a_cluster_that_is_not_there_ends_a_submission_in_time_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, INFRA / "submit.py", "--id=a", "--patience-s=0", "--", "true"],
        env={"RAY_ADDRESS": "http://127.0.0.1:9", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 4
    assert "Failed to connect" in done.stderr and "check RAY_ADDRESS" in done.stderr and "Traceback" not in done.stderr
