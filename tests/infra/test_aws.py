"""The CloudFormation stack: by its linter, and against what the store asks S3."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.storage.publish import Manifest, VersionedDataset
from pipeline.storage.s3_store import S3Store
from pipeline.storage.workspace import Workspace
from tests.infra.policies import STACK_FILE, Request, allows, stack, statements
from tests.support.jobs import ROOT

ACTION_OF = {
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
}
POLICIES = ("ReaderPolicy", "MinerPolicy", "TrainerPolicy", "OperatorPolicy", "PrunerPolicy")
WORKSPACE = Workspace(S3Store("bucket", "faces"), "main")
GENERATIONS = VersionedDataset(WORKSPACE.store, WORKSPACE.generations_prefix, Manifest)
CHECKPOINTS = VersionedDataset(WORKSPACE.store, WORKSPACE.checkpoints_prefix, Manifest)
CORPORA = VersionedDataset(WORKSPACE.store, WORKSPACE.corpus_prefix, Manifest)


def actions_of(*names: str) -> set[str]:
    found: set[str] = set()
    for statement in statements(*names):
        found |= {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])
    return found


def may(policy: str, action: str, key: str) -> bool:
    return any(allows(one, Request(f"s3:{action}", f"faces/{key}")) for one in statements("ReaderPolicy", policy))


def test_cloudformations_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([linter, STACK_FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_policies_name_the_calls_that_the_store_makes_and_no_other() -> None:
    tree = ast.parse((ROOT / "pipeline/storage/s3_store.py").read_text())
    client = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_client(node.value)]
    calls = {node.attr for node in client} - {"get_paginator", "meta"}
    calls |= set(re.findall(r'get_paginator\("(\w+)"\)', ast.unparse(tree).replace("'", '"')))
    assert {ACTION_OF[call] for call in calls} == actions_of(*POLICIES)


def _is_client(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "_client"


def test_a_reader_only_looks() -> None:
    assert actions_of("ReaderPolicy") == {"s3:GetObject", "s3:ListBucket"}
    assert may("ReaderPolicy", "ListBucket", "") and may("ReaderPolicy", "ListBucket", "corpus/manifests/")
    assert not any(allows(one, Request("s3:ListBucket", "other/")) for one in statements("ReaderPolicy"))


@pytest.mark.parametrize(
    ("policy", "own", "others"),
    [("MinerPolicy", GENERATIONS, CHECKPOINTS), ("TrainerPolicy", CHECKPOINTS, GENERATIONS)],
)
def test_who_mines_publishes_generations_and_who_trains_publishes_checkpoints(
    policy: str, own: VersionedDataset[Manifest], others: VersionedDataset[Manifest]
) -> None:
    part, manifest = "0-abc/part.parquet", own.manifest_key(3)
    assert may(policy, "PutObject", f"{own.prefix}/data/{part}") and may(policy, "PutObject", manifest)
    assert not may(policy, "PutObject", f"{others.prefix}/data/{part}")
    assert not may(policy, "PutObject", others.manifest_key(3)) and not may(policy, "PutObject", own.tombstone_key(3))


@pytest.mark.parametrize("policy", ["ReaderPolicy", "MinerPolicy", "TrainerPolicy", "OperatorPolicy"])
@pytest.mark.parametrize("dataset", [GENERATIONS, CHECKPOINTS, CORPORA])
def test_nobody_but_prune_can_delete_what_is_published(policy: str, dataset: VersionedDataset[Manifest]) -> None:
    assert not may(policy, "DeleteObject", dataset.manifest_key(3))
    assert may("PrunerPolicy", "DeleteObject", dataset.manifest_key(3))


def test_a_trainer_deletes_nothing_but_its_lease_and_its_probe() -> None:
    assert not may("TrainerPolicy", "DeleteObject", f"{WORKSPACE.checkpoints_prefix}/data/0-abc/model.safetensors")
    assert may("TrainerPolicy", "DeleteObject", "leases/reader-abc.json")


def test_the_cluster_may_not_prune() -> None:
    roles = [one["Properties"] for one in stack().values() if one["Type"] == "AWS::IAM::Role"]
    assert len(roles) == 2 and all("PrunerPolicy" not in role["ManagedPolicyArns"] for role in roles)


def test_the_lifecycle_never_takes_a_current_object() -> None:
    rules = stack()["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    harmless = {"Id", "Status", "Prefix", "NoncurrentVersionExpiration", "ExpiredObjectDeleteMarker"}
    assert all(set(rule) <= harmless | {"AbortIncompleteMultipartUpload"} for rule in rules)
    assert {rule.get("Prefix") for rule in rules} == {None, "faces/leases/"}


def test_the_bucket_keeps_old_versions_is_encrypted_and_closed_to_the_public() -> None:
    bucket = stack()["Bucket"]
    properties = bucket["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert properties["BucketEncryption"] and bucket["DeletionPolicy"] == "Retain"


def test_the_bucket_refuses_plain_connections_and_a_manifest_that_could_replace_another() -> None:
    denied = {one["Sid"]: one for one in stack()["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]}
    plain, replacing = denied["EncryptedConnectionsOnly"], denied["ManifestsAreCreatedOnce"]
    assert plain["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} and plain["Action"] == "s3:*"
    assert replacing["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert replacing["Resource"] == "arn:aws:s3:::bucket/*/manifests/*"
