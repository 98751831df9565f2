"""The Kubernetes manifests, offline: core kinds by Kubernetes' schemas, Ray's kinds by those of ``kuberay_schema``."""

import copy
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from cronsim import CronSim
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import validate_config

from tests.infra.files import CONSTRAINTS, PROJECT, manifests
from tests.infra.jobs_parser import accepted_config
from tests.infra.kuberay_schema import SCHEMAS, cluster_specs, parts_of_core

MANIFESTS = dict(manifests())
RAY_KINDS = {name: one for name, one in MANIFESTS.items() if one["kind"] in SCHEMAS}
CLUSTERS = {name: next(cluster_specs(one)) for name, one in RAY_KINDS.items() if any(cluster_specs(one))}
KUBERNETES = "1.33"


def check(document: dict[str, Any]) -> None:
    if document["kind"] not in SCHEMAS:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    jsonschema.validate(document, SCHEMAS[document["kind"]])
    for _, part in parts_of_core(document):
        kubernetes_validate.validate(part, KUBERNETES, strict=True)


def templates(node: object) -> Iterator[dict[str, Any]]:
    """All pod templates in a document, at any depth of its objects."""
    if isinstance(node, dict):
        if "containers" in node.get("spec", {}):
            yield node
        for value in node.values():
            yield from templates(value)


def all_templates() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, document in MANIFESTS.items():
        workers = [group["template"] for group in CLUSTERS.get(name, {}).get("workerGroupSpecs", ())]
        for number, template in enumerate([*templates(document), *workers]):
            yield f"{name}#{number}", template


TEMPLATES = dict(all_templates())
ALL_PODS = {name: template["spec"] for name, template in TEMPLATES.items()}


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_manifest_is_what_the_api_takes(name: str) -> None:
    check(MANIFESTS[name])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(enableInTreeAutoscalling=True),
        lambda spec: spec["authOptions"].update(mode="tokens"),
        lambda spec: spec["workerGroupSpecs"][0].update(minReplica=1),
        lambda spec: spec["workerGroupSpecs"][0].pop("maxReplicas"),
        lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda spec: spec["headGroupSpec"]["template"]["spec"].update(serviceAcountName="motherlode"),
        lambda spec: spec["autoscalerOptions"]["securityContext"].update(priviledged=False),
    ],
)
def test_a_slip_of_the_pen_in_a_cluster_is_found(spoil: Callable[[dict[str, Any]], None]) -> None:
    document = copy.deepcopy(MANIFESTS["cluster.yaml RayCluster/motherlode"])
    spoil(document["spec"])
    with pytest.raises(jsonschema.ValidationError):
        check(document)


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_cluster_asks_for_a_token_and_runs_the_tested_ray(name: str) -> None:
    assert CLUSTERS[name]["authOptions"]["mode"] == "token"
    assert CLUSTERS[name]["rayVersion"] == CONSTRAINTS["ray"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_rays_autoscaler_sees_a_head_without_work_and_gpu_workers(name: str) -> None:
    cluster = {"metadata": {"name": "motherlode", "namespace": "motherlode"}, "spec": CLUSTERS[name]}
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(cluster)
    validate_config(config)
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    assert types["gpu"]["resources"]["GPU"] == 1
    assert types["gpu"]["min_workers"] >= 1  # a job looks at the nodes that are up


def test_the_standing_cluster_has_gpu_and_cpu_workers() -> None:
    groups = CLUSTERS["cluster.yaml RayCluster/motherlode"]["workerGroupSpecs"]
    assert {group["groupName"] for group in groups} == {"gpu", "cpu"}


@pytest.mark.parametrize("name", ALL_PODS)
def test_no_pod_runs_as_root_or_may_become_it(name: str) -> None:
    pod = ALL_PODS[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", ALL_PODS)
def test_images_are_pinned_to_this_version_and_every_container_is_limited(name: str) -> None:
    for container in ALL_PODS[name]["containers"]:
        assert re.fullmatch(rf".*/motherlode:{re.escape(PROJECT['version'])}-(cpu|gpu)", container["image"])
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert container["image"].endswith("-gpu") == ("nvidia.com/gpu" in container["resources"]["limits"])


@pytest.mark.parametrize("name", ALL_PODS)
def test_a_pod_that_cannot_write_to_its_image_mounts_what_it_writes_to(name: str) -> None:
    volumes = {volume["name"] for volume in ALL_PODS[name].get("volumes", ())}
    for container in ALL_PODS[name]["containers"]:
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", ())}
        assert set(mounts.values()) <= volumes
        assert not container["securityContext"].get("readOnlyRootFilesystem") or "/tmp" in mounts


def test_only_rays_nodes_and_submitters_reach_a_head() -> None:
    policies = [one for one in MANIFESTS.values() if one["kind"] == "NetworkPolicy"]
    closed = [one for one in policies if one["spec"]["podSelector"] == {} and "ingress" not in one["spec"]]
    assert len(closed) == 1  # whatever no other policy opens is closed
    opened = [rule for one in policies for rule in one["spec"].get("ingress", ())]
    assert all(rule.get("from") for rule in opened)
    assert all("ipBlock" not in peer for rule in opened for peer in rule["from"])
    (jobs,) = (rule for rule in opened if {"protocol": "TCP", "port": 8265} in rule.get("ports", ()))
    labels = {"motherlode/submits": "yes"}
    assert {"podSelector": {"matchLabels": labels}} in jobs["from"]
    submitters = [one for one in TEMPLATES.values() if one["spec"]["containers"][0]["name"] == "submit"]
    assert len(submitters) == 4 and all(one["metadata"]["labels"] == labels for one in submitters)


def test_nothing_is_open_to_the_outside() -> None:
    assert not {"Ingress", "Service"} & {one["kind"] for one in MANIFESTS.values()}
    for cluster in CLUSTERS.values():
        assert cluster["headGroupSpec"].get("serviceType", "ClusterIP") == "ClusterIP"
        assert not cluster["headGroupSpec"].get("enableIngress", False)


ENTRYPOINTS = {
    name: one["spec"].get("jobTemplate", one["spec"])["entrypoint"]
    for name, one in RAY_KINDS.items()
    if one["kind"] != "RayCluster"
}


@pytest.mark.parametrize("name", ENTRYPOINTS)
def test_every_entrypoint_is_a_command_line_that_its_job_accepts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = accepted_config(shlex.split(ENTRYPOINTS[name]), tmp_path, monkeypatch)
    assert config.workspace.startswith("s3://")


@pytest.mark.parametrize("name", ENTRYPOINTS)
def test_a_job_finds_its_config_on_the_nodes_of_its_cluster(name: str) -> None:
    spec = RAY_KINDS[name]["spec"].get("jobTemplate", RAY_KINDS[name]["spec"])
    cluster = spec.get("rayClusterSpec", CLUSTERS["cluster.yaml RayCluster/motherlode"])
    (container,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert {"name": "run", "mountPath": "/etc/motherlode", "readOnly": True} in container["volumeMounts"]
    selector = spec.get("clusterSelector")
    assert selector is None or selector == {"ray.io/cluster": "motherlode"}


def test_schedules_are_what_cron_understands() -> None:
    schedules = [one["spec"]["schedule"] for one in MANIFESTS.values() if "schedule" in one.get("spec", {})]
    assert len(schedules) == 2
    for schedule in schedules:
        CronSim(schedule, datetime(2026, 1, 1))
