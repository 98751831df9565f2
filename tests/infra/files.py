"""The files that are looked at, and what the project says of itself."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.jobs import ROOT

INFRA = ROOT / "infra"
LAUNCHER = ROOT / "ray_cluster.yaml"
SHIPPED = [
    LAUNCHER,
    *(path for path in sorted(INFRA.rglob("*")) if path.is_file() and path.suffix not in {".pyc", ".json"}),
]
RUN_YAML = "/etc/motherlode/run.yaml"
"""Where nodes and schedulers find the config."""
CONSTRAINTS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if re.match(r"[\w.-]+==", line)
)
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """What is applied to Kubernetes, each with "file kind/name"."""
    for path in sorted((INFRA / "kuberay").glob("*.yaml")):
        for document in documents(path):
            yield f"{path.name} {document['kind']}/{document['metadata']['name']}", document


def run_yaml() -> str:
    """The config of the Kubernetes manifests."""
    config = next(one for _, one in manifests() if one["kind"] == "ConfigMap")
    text: str = config["data"]["run.yaml"]
    return text


def commands(text: str) -> list[list[str]]:
    """The words of every ``python -m jobs.NAME …`` in a text."""
    found = re.findall(r"python -m (jobs\.[a-z]+(?:[ ]+[\w./:=\[\]-]+)*)", text)
    return [["python", "-m", *shlex.split(words)] for words in found]
