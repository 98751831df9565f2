"""The image: its Dockerfile by a linter, its install in a plain virtual environment, a build where one can be."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.files import CONSTRAINTS, INFRA
from tests.support.jobs import ROOT, environment

DOCKERFILE = INFRA / "docker/Dockerfile"
TEXT = DOCKERFILE.read_text()


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_variants_end_as_an_ordinary_user_who_asks_for_a_token() -> None:
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", TEXT, re.DOTALL | re.MULTILINE))
    assert {"cpu", "gpu"} <= set(stages)
    assert "RAY_AUTH_MODE=token" in stages["runtime"]
    for name in ("cpu", "gpu"):
        users = re.findall(r"^USER (\d+)", stages["runtime"] + stages[name], re.MULTILINE)
        assert users[-1] == "1000", name


def test_the_base_is_pinned_and_has_the_python_of_the_tested_versions() -> None:
    (version,) = re.findall(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+)\.\d+-slim-\w+$", TEXT, re.MULTILINE)
    assert f"for Python {version} " in (ROOT / "constraints.txt").read_text().splitlines()[0]


def test_what_goes_into_the_image_is_named_and_enough_to_install_from() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"  # nothing else comes along
    taken = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in taken)
    copied = set(re.findall(r"^COPY (infra/\S+)", TEXT, re.MULTILINE)) | {"infra/install.sh"}
    assert {"jobs", "pipeline", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", *copied} == taken


def test_the_tested_torch_and_triton_go_together() -> None:
    # The build of PyTorch on the public index, which GPUs need, asks for one version of Triton, and no other will do.
    assert (CONSTRAINTS["torch"], CONSTRAINTS["triton"]) == ("2.13.0", "3.7.1")


def test_another_variant_is_refused() -> None:
    done = subprocess.run([INFRA / "install.sh", "tpu", "/nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "neither cpu nor gpu" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_images_own_install_gives_an_environment_in_which_the_doctor_finds_all_well(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    taken = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for name in filter(None, tracked.split("\0")):
        if any(name == one or name.startswith(f"{one}/") for one in taken):  # as the build's context
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    (step,) = re.findall(r"^RUN (infra/install\.sh cpu) /opt/motherlode$", TEXT, re.MULTILINE)
    subprocess.run([*step.split(), tmp_path / "venv", sys.executable], cwd=source, check=True)
    done = subprocess.run(
        [tmp_path / "venv/bin/python", "-m", "jobs.doctor", "--workspace", tmp_path / "workspace", "--json"],
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path), RAY_AUTH_MODE="token"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "native" in str(report["mining"]) and CONSTRAINTS["ray"] in str(report["versions"])


def engine() -> str | None:
    """A container engine that answers."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    return None


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", ["cpu", *(["gpu"] if os.environ.get("MOTHERLODE_BUILD_GPU_IMAGE") else [])])
def test_the_image_builds_and_its_doctor_finds_all_well(target: str) -> None:
    if (name := engine()) is None:
        pytest.skip("no container engine answers here")
    tag = f"motherlode-test:{target}"
    subprocess.run([name, "build", "--file", DOCKERFILE, "--target", target, "--tag", tag, ROOT], check=True)
    try:
        command = [name, "run", "--rm", "--shm-size=1g", tag, "python", "-m", "jobs.doctor", "--workspace", "/tmp/w"]
        subprocess.run(command, check=True)
    finally:
        subprocess.run([name, "image", "rm", tag], check=False)
