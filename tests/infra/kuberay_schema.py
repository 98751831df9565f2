"""What KubeRay 1.7's API reference says of RayCluster, RayJob and RayCronJob, as strict JSON schemas of our own.

Source: "KubeRay CRD API reference" in Ray's documentation (docs.ray.io, Kubernetes, references). A field that is not
listed is refused. Pod templates and the like are Kubernetes' own kinds, and are judged by its own schemas:
``parts_of_core`` lists them.
"""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
CORE: Schema = {"type": "object"}


def _object(required: tuple[str, ...] = (), **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


AUTH = _object(mode={"enum": ["token", "disabled"]}, secretName=TEXT, enableK8sTokenAuth=FLAG)

AUTOSCALER = _object(
    resources=CORE,
    image=TEXT,
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    securityContext=CORE,
    idleTimeoutSeconds=COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    env={"type": "array", "items": CORE},
    envFrom={"type": "array", "items": CORE},
    volumeMounts={"type": "array", "items": CORE},
    version={"enum": ["v1", "v2"]},
)

HEAD = _object(
    ("template",),
    template=CORE,
    headService=CORE,
    enableIngress=FLAG,
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    resources=TEXTS,
    labels=TEXTS,
)

WORKERS = _object(
    ("groupName", "template", "minReplicas", "maxReplicas"),
    suspend=FLAG,
    groupName={"type": "string", "pattern": "^[a-z][-a-z0-9]*[a-z0-9]$"},
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas={"type": "integer", "minimum": 1},
    idleTimeoutSeconds=COUNT,
    rayStartParams=TEXTS,
    template=CORE,
    scaleStrategy=_object(workersToDelete={"type": "array", "items": TEXT}),
    numOfHosts=COUNT,
    resources=TEXTS,
    labels=TEXTS,
)

CLUSTER_SPEC = _object(
    ("headGroupSpec", "rayVersion"),
    suspend=FLAG,
    managedBy=TEXT,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=CORE,
    headGroupSpec=HEAD,
    rayVersion=TEXT,
    workerGroupSpecs={"type": "array", "items": WORKERS, "minItems": 1},
    authOptions=AUTH,
)

JOB_SPEC = _object(
    ("entrypoint",),
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER_SPEC,
    submitterPodTemplate=CORE,
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=_object(backoffLimit=COUNT),
    managedBy=TEXT,
    deletionStrategy=CORE,
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    entrypointResources=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    ttlSecondsAfterFinished=COUNT,
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)
# A job brings a cluster or names one; one that stands is not its to shut down or to try again with.
JOB_SPEC |= {
    "oneOf": [
        {"required": ["rayClusterSpec"]},
        {
            "required": ["clusterSelector"],
            "not": {"anyOf": [{"required": ["shutdownAfterJobFinishes"]}, {"required": ["backoffLimit"]}]},
        },
    ],
    "if": {"required": ["ttlSecondsAfterFinished"]},
    "then": {"required": ["shutdownAfterJobFinishes"]},
}

CRON_SPEC = _object(("schedule", "jobTemplate"), schedule=TEXT, jobTemplate=JOB_SPEC, suspend=FLAG)


def _kind(kind: str, spec: Schema) -> Schema:
    metadata = _object(("name", "namespace"), name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    named = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}}
    return _object(("apiVersion", "kind", "metadata", "spec"), **named, metadata=metadata, spec=spec)


SCHEMAS = {
    kind: _kind(kind, spec)
    for kind, spec in {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC, "RayCronJob": CRON_SPEC}.items()
}


def cluster_specs(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The clusters that a Ray kind brings."""
    spec = document["spec"].get("jobTemplate", document["spec"])
    if document["kind"] == "RayCluster":
        yield spec
    elif "rayClusterSpec" in spec:
        yield spec["rayClusterSpec"]


def parts_of_core(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kubernetes' own objects in a Ray kind: the kind that has such a field, and an object of it."""
    spec = document["spec"].get("jobTemplate", document["spec"])
    templates = [spec["submitterPodTemplate"]] if "submitterPodTemplate" in spec else []
    for cluster in cluster_specs(document):
        templates += [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
        if options := cluster.get("autoscalerOptions"):
            fields = ("resources", "securityContext", "env", "envFrom", "volumeMounts")
            sidecar = {"name": "autoscaler"} | {name: options[name] for name in fields if name in options}
            templates.append({"spec": {"containers": [sidecar]}})
    for template in templates:
        yield "PodTemplate", {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
