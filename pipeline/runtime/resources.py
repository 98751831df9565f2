"""What a job reserves, whether the nodes of a cluster can hold it (or are waited for), and what they have now."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from pipeline.config import ClusterConfig, RunConfig
from pipeline.progress import log

Resources = Mapping[str, float]

_NAMES = ("GPU", "CPU")  # the scarcer resource first
_TOLERANCE = 1e-9
_POLL_INTERVAL_S, _LOG_INTERVAL_S = 1.0, 30.0


@dataclass(frozen=True)
class Reservation:
    """Equal processes, each of which needs its resources on one node.

    Attributes:
        process: What each of them is, in words.
        count: How many.
        resources: Logical CPUs and GPUs of each.
        settings: Names of the settings that decide it.
    """

    process: str
    count: int
    resources: Resources
    settings: str

    def __str__(self) -> str:
        return f"{self.count} {self.process}{'s' if self.count > 1 else ''} of {format_resources(self.resources)}"

    def total(self, name: str) -> float:
        """What all of them reserve of a resource."""
        return self.count * self.resources.get(name, 0.0)


def actor_reservation(config: ClusterConfig) -> Reservation:
    """The pool that embeds and mines."""
    resources = {"CPU": config.cpus_per_actor, "GPU": config.gpus_per_actor}
    return Reservation("actor", config.num_needed_actors, resources, "cluster.num_actors or cluster.*_per_actor")


def trainer_reservation(config: RunConfig) -> Reservation:
    """The workers that train."""
    resources = {"CPU": config.cluster.cpus_per_trainer, "GPU": config.cluster.gpus_per_trainer}
    settings = "training.num_workers or cluster.*_per_trainer"
    return Reservation("training worker", config.training.num_workers, resources, settings)


def unschedulable_reason(reservations: Sequence[Reservation], nodes: Sequence[Resources]) -> str | None:
    """Why processes cannot all be placed on empty nodes, in one sentence; None where they can.

    They are placed first fit: the largest processes first, on nodes without GPUs as long as these suffice, as Ray does.
    """
    free = [dict(node) for node in nodes]
    smallest_first = sorted(reservations, key=lambda r: [r.resources.get(name, 0.0) for name in _NAMES])
    for reservation in smallest_first[::-1]:
        resources = reservation.resources
        if not any(_fits(resources, node) for node in nodes):
            return (
                f"one {reservation.process} reserves {format_resources(resources)}, and no node of the cluster has "
                f"that ({format_nodes(nodes)}): add a larger node, or lower {reservation.settings}"
            )
        for _ in range(reservation.count):
            node = next((node for node in sorted(free, key=_num_gpus) if _fits(resources, node)), None)
            if node is None:
                return (
                    f"the cluster is too small for {' and '.join(map(str, reservations))} ({format_nodes(nodes)}; each "
                    f"must fit on one node): add nodes, or lower {', '.join(r.settings for r in reservations)}"
                )
            for name in _NAMES:
                node[name] = node.get(name, 0.0) - resources.get(name, 0.0)
    return None


def wait_for_nodes(reservations: Sequence[Reservation], timeout_s: float) -> str | None:
    """Waits until processes can all be placed; why they still cannot, where time is up.

    A pending placement group makes an autoscaler start nodes, and is this job's alone: it goes with it.
    (``request_resources`` would be one wish for the whole cluster, which stands until it is taken back.)
    """
    bundles = [
        {name: amount for name, amount in reservation.resources.items() if amount}
        for reservation in reservations
        for _ in range(reservation.count)
    ]
    group = placement_group([bundle for bundle in bundles if bundle], strategy="PACK")
    deadline, logged_at = time.monotonic() + timeout_s, -math.inf
    try:
        while (reason := unschedulable_reason(reservations, live_nodes())) is not None:
            now = time.monotonic()
            if now > deadline:
                return (
                    f"{reason} (waited {timeout_s:g} s, cluster.wait_for_nodes_s; `ray status` says what did not come)"
                )
            if now > logged_at + _LOG_INTERVAL_S:
                nodes = format_nodes(live_nodes())
                log(f"waiting for nodes, up to {deadline - now:.0f} s more: {nodes} is not enough yet")
                logged_at = now
            time.sleep(_POLL_INTERVAL_S)
    finally:
        remove_placement_group(group)
    return None


def live_nodes() -> list[dict[str, float]]:
    """The total resources of each node that is alive."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def format_cluster() -> str:
    """The nodes that are alive now, and which of their resources are free, in words."""
    available: Resources = ray.available_resources()  # type: ignore[no-untyped-call]
    return f"the cluster has {format_nodes(live_nodes())} now, with {format_resources(available)} free"


def format_nodes(nodes: Iterable[Resources]) -> str:
    """Nodes in words, equal ones together."""
    counts = Counter(format_resources(node) for node in nodes)
    groups = (f"{count} node{'s' if count > 1 else ''} of {words}" for words, count in sorted(counts.items()))
    return ", ".join(groups) or "no node"


def format_resources(resources: Resources) -> str:
    """CPUs, and GPUs where there are any."""
    cpus = f"{resources.get('CPU', 0.0):g} CPU"
    return f"{cpus} and {resources['GPU']:g} GPU" if resources.get("GPU") else cpus


def _fits(resources: Resources, free: Resources) -> bool:
    return all(resources.get(name, 0.0) <= free.get(name, 0.0) + _TOLERANCE for name in _NAMES)


def _num_gpus(node: Resources) -> float:
    return node.get("GPU", 0.0)
