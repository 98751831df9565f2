"""The stack's policies, and the little of IAM that is needed to ask them whether a request is allowed."""

import fnmatch
from dataclasses import dataclass
from typing import Any

import yaml

from tests.infra.files import INFRA

STACK_FILE = INFRA / "aws/motherlode.yaml"
BUCKET = "arn:aws:s3:::bucket"


class _Loader(yaml.SafeLoader):
    """Short forms of CloudFormation's functions: ``!Sub text`` gives the text, with the bucket and workspace put in."""


def _function(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:  # noqa: ANN401 — what YAML holds
    if not isinstance(node, yaml.ScalarNode):
        return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else None
    text = str(loader.construct_scalar(node))
    if text == "Bucket.Arn":
        return BUCKET
    return text.replace("${Bucket.Arn}", BUCKET).replace("${Workspace}", "faces")


_Loader.add_multi_constructor("!", _function)


def stack() -> dict[str, Any]:
    """The resources of the stack, for the bucket ``bucket`` and the workspace ``s3://bucket/faces``."""
    resources: dict[str, Any] = yaml.load(STACK_FILE.read_text(), _Loader)["Resources"]
    return resources


@dataclass(frozen=True)
class Request:
    """What S3 is asked: ``s3:GetObject`` and a key, or ``s3:ListBucket`` and a prefix."""

    action: str
    key: str


def statements(*names: str) -> list[dict[str, Any]]:
    """Those of managed policies, named as in the stack."""
    resources = stack()
    return [one for name in names for one in resources[name]["Properties"]["PolicyDocument"]["Statement"]]


def allows(statement: dict[str, Any], request: Request) -> bool:
    """Whether an allowing statement covers the request; no condition but one on ``s3:prefix`` is understood."""
    assert statement["Effect"] == "Allow"
    condition = statement.get("Condition", {})
    assert set(condition) <= {"StringLike"} and set(condition.get("StringLike", {})) <= {"s3:prefix"}, condition
    if not any(fnmatch.fnmatchcase(request.action, action) for action in _many(statement["Action"])):
        return False
    if request.action == "s3:ListBucket":
        wanted = condition["StringLike"]["s3:prefix"]
        return BUCKET in _many(statement["Resource"]) and fnmatch.fnmatchcase(request.key, wanted)
    return any(fnmatch.fnmatchcase(f"{BUCKET}/{request.key}", one) for one in _many(statement["Resource"]))


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
