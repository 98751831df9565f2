"""The crontab, the Kubernetes CronJob and the Airflow DAG: when they fire, and that what they run would be taken."""

import argparse
import ast
import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
from cronsim import CronSim

from tests.infra.files import INFRA, commands, manifests
from tests.infra.jobs_parser import accepted_config

CRONTAB = INFRA / "cron/refresh.cron"
DAG_FILE = INFRA / "airflow/refresh_dag.py"


def submission(words: list[str]) -> argparse.Namespace:
    """What infra/submit.py takes from its command line."""
    parser: argparse.ArgumentParser = runpy.run_path(str(INFRA / "submit.py"))["parser"]()
    return parser.parse_args(words)


def crontab() -> tuple[dict[str, str], str, str]:
    """Environment, schedule and command line of the crontab's one entry."""
    lines = [line for line in CRONTAB.read_text().splitlines() if line and not line.startswith("#")]
    environ = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    (entry,) = (line for line in lines if not re.match(r"[A-Z_]+=", line))
    *schedule, command = entry.split(maxsplit=5)
    return environ, " ".join(schedule), command.replace(r"\%", "%")  # as cron does


def test_the_crontab_fires_once_a_night() -> None:
    _, schedule, _ = crontab()
    first, second = islice(CronSim(schedule, datetime(2026, 11, 22, tzinfo=UTC)), 2)
    assert second - first == timedelta(days=1)


def test_a_percent_sign_in_the_crontab_is_escaped() -> None:
    assert not re.search(r"(?<!\\)%", CRONTAB.read_text().splitlines()[-1])  # cron would end the command there


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock (util-linux) is not installed")
def test_the_crontabs_line_submits_a_refresh_under_the_minutes_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, _, line = crontab()
    python = tmp_path / "checkout/.venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")  # cron's own shell does the rest
    python.chmod(0o755)
    done = subprocess.run(
        [environ["SHELL"], "-c", line],
        env=environ | {"CHECKOUT": str(tmp_path / "checkout"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.returncode == 0
    script, *words = (tmp_path / "refresh.log").read_text().splitlines()
    assert script == "infra/submit.py" and environ["RAY_AUTH_MODE"] == "token"
    options = submission(words)
    assert re.fullmatch(r"refresh-\d{8}T\d{4}", options.id)
    assert options.command[2] == "jobs.mine"
    accepted_config(options.command, tmp_path, monkeypatch)


def test_the_cronjob_forbids_a_second_one_and_follows_what_an_evicted_pod_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cron,) = (one for _, one in manifests() if one["kind"] == "CronJob")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    whole: list[str] = container["command"] + container["args"]
    python, script, *words = whole
    assert (python, script) == ("python", "/opt/submit.py")
    dockerfile = (INFRA / "docker/Dockerfile").read_text()
    assert f"COPY infra/submit.py {script}\n" in dockerfile
    environ = {one["name"]: one for one in container["env"]}
    assert environ["RAY_AUTH_MODE"]["value"] == "token" and "value" not in environ["RAY_AUTH_TOKEN"]
    assert words[:2] == ["--id", "$(JOB_NAME)"]  # pods of one Job share its name
    assert "job-name" in environ["JOB_NAME"]["valueFrom"]["fieldRef"]["fieldPath"]
    options = submission(["--id", "refresh-29384756", *words[2:]])
    assert options.leave_running
    accepted_config(options.command, tmp_path, monkeypatch)


def test_the_dags_refresh_is_a_command_line_that_the_job_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = ast.parse(DAG_FILE.read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    (words,) = commands("\n".join(text for text in texts if isinstance(text, str)))
    accepted_config(words, tmp_path, monkeypatch)


@pytest.mark.skipif(importlib.util.find_spec("airflow") is None, reason="Airflow is not installed (3.x; a venv's own)")
def test_airflow_takes_the_dag_and_its_task_submits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    dag = runpy.run_path(str(DAG_FILE))["dag"]
    (task,) = dag.tasks
    assert dag.max_active_runs == 1 and not dag.catchup and task.retries > 0
    _, script, *words = shlex.split(re.sub(r"{{.*?}}", "x", task.bash_command))
    assert script == "infra/submit.py" and submission(words).command[2] == "jobs.mine"
