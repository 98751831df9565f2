import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.failpoints import FOLDER_VARIABLE, VARIABLE, Failpoint, arrivals

VISIT = "from pipeline.failpoints import Failpoint, reach; [reach(Failpoint.PART) for _ in range(3)]; print('end')"


def visit(**environ: str) -> subprocess.CompletedProcess[str]:
    """Reaches a place three times in a process of its own."""
    command = [sys.executable, "-c", VISIT]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False)


def test_a_place_that_is_not_armed_lets_everybody_pass() -> None:
    done = visit()
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_place_kills_at_its_arrival_once_over_all_processes(tmp_path: Path) -> None:
    armed = {VARIABLE: "publish.part=kill@2", FOLDER_VARIABLE: str(tmp_path)}
    first, second = visit(**armed), visit(**armed)
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "")
    assert first.stderr == "failpoint publish.part, arrival 2: kill\n"
    assert (second.returncode, second.stdout) == (0, "end\n")
    assert (arrivals(tmp_path, Failpoint.PART), arrivals(tmp_path, Failpoint.PART_PUT)) == (5, 0)


def test_a_place_kills_at_several_arrivals(tmp_path: Path) -> None:
    armed = {VARIABLE: "publish.part=kill@2, publish.part=kill@3", FOLDER_VARIABLE: str(tmp_path)}
    assert [visit(**armed).returncode for _ in range(3)] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert arrivals(tmp_path, Failpoint.PART) == 6


@pytest.mark.parametrize("armed", ["publish.parts=kill", "publish.part=die", "publish.part"])
def test_a_name_that_nothing_would_reach_is_an_error(armed: str, tmp_path: Path) -> None:
    assert visit(**{VARIABLE: armed, FOLDER_VARIABLE: str(tmp_path)}).returncode == 1


def test_arming_without_a_folder_is_an_error() -> None:
    assert visit(**{VARIABLE: "publish.part=kill"}).returncode == 1
