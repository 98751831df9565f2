"""What KubeRay 1.7's API reference says of RayCluster, RayJob and RayCronJob, as strict JSON schemas of our own.

Source: "KubeRay CRD API reference" in Ray's documentation (docs.ray.io, Kubernetes, references). A field that is not
listed is refused: those that the manifests use are, and another one comes here from the reference with its first use.
Pod templates and the like are Kubernetes' own kinds, and are judged by its own schemas: ``parts_of_core`` lists them.
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


AUTH = _object(mode={"enum": ["token", "disabled"]})

AUTOSCALER = _object(resources=CORE, securityContext=CORE, idleTimeoutSeconds=COUNT)

HEAD = _object(
    ("template",),
    template=CORE,
    enableIngress=FLAG,
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
)

WORKERS = _object(
    ("groupName", "template", "minReplicas", "maxReplicas"),
    groupName={"type": "string", "pattern": "^[a-z][-a-z0-9]*[a-z0-9]$"},
    minReplicas=COUNT,
    maxReplicas={"type": "integer", "minimum": 1},
    rayStartParams=TEXTS,
    template=CORE,
)

CLUSTER_SPEC = _object(
    ("headGroupSpec", "rayVersion"),
    autoscalerOptions=AUTOSCALER,
    enableInTreeAutoscaling=FLAG,
    headGroupSpec=HEAD,
    rayVersion=TEXT,
    workerGroupSpecs={"type": "array", "items": WORKERS, "minItems": 1},
    authOptions=AUTH,
)

JOB_SPEC = _object(
    ("entrypoint",),
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER_SPEC,
    submitterPodTemplate=CORE,
    clusterSelector=TEXTS,
    entrypoint=TEXT,
    ttlSecondsAfterFinished=COUNT,
    shutdownAfterJobFinishes=FLAG,
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

CRON_SPEC = _object(("schedule", "jobTemplate"), schedule=TEXT, jobTemplate=JOB_SPEC)


def _kind(kind: str, spec: Schema) -> Schema:
    metadata = _object(("name", "namespace"), name=TEXT, namespace=TEXT)
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
            fields = ("resources", "securityContext")
            sidecar = {"name": "autoscaler"} | {name: options[name] for name in fields if name in options}
            templates.append({"spec": {"containers": [sidecar]}})
    for template in templates:
        yield "PodTemplate", {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
