"""What a job reserves, whether the nodes of a cluster can hold it (or are waited for), and what they have now."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from pipeline.config import ClusterConfig, RunConfig
from pipeline.progress import say

Resources = Mapping[str, float]

_COUNTED = ("GPU", "CPU")  # the scarcer one first
_TOLERANCE = 1e-9
_LOOK_EVERY_S, _TOLD_EVERY_S = 1.0, 30.0


@dataclass(frozen=True)
class Reservation:
    """Equal processes, each of which needs its resources on one node.

    Attributes:
        who: One of them, in words.
        count: How many.
        resources: Logical CPUs and GPUs of each.
        settings: What in the config decides it.
    """

    who: str
    count: int
    resources: Resources
    settings: str

    def __str__(self) -> str:
        return f"{self.count} {self.who}{'s' if self.count > 1 else ''} of {in_words(self.resources)}"

    def total(self, name: str) -> float:
        """What all of them reserve of a resource."""
        return self.count * self.resources.get(name, 0.0)


def actors_of(config: ClusterConfig) -> Reservation:
    """The pool that embeds and mines."""
    resources = {"CPU": config.cpus_per_actor, "GPU": config.gpus_per_actor}
    return Reservation("actor", config.num_needed_actors, resources, "cluster.num_actors or cluster.*_per_actor")


def trainers_of(config: RunConfig) -> Reservation:
    """The workers that train."""
    resources = {"CPU": config.cluster.cpus_per_trainer, "GPU": config.cluster.gpus_per_trainer}
    settings = "training.num_workers or cluster.*_per_trainer"
    return Reservation("training worker", config.training.num_workers, resources, settings)


def find_misfit(reservations: Sequence[Reservation], nodes: Sequence[Resources]) -> str | None:
    """Why processes cannot all be placed on empty nodes, in one sentence; None where they can.

    They are placed first fit: the largest processes first, on nodes without GPUs as long as these suffice, as Ray does.
    """
    free = [dict(node) for node in nodes]
    largest_first = sorted(reservations, key=lambda one: [one.resources.get(name, 0.0) for name in _COUNTED])[::-1]
    for one in largest_first:
        if not any(_fits(one.resources, node) for node in nodes):
            return (
                f"one {one.who} reserves {in_words(one.resources)}, and no node of the cluster has that "
                f"({describe(nodes)}): add a larger node, or lower {one.settings}"
            )
        for _ in range(one.count):
            node = next((node for node in sorted(free, key=_num_gpus) if _fits(one.resources, node)), None)
            if node is None:
                return (
                    f"the cluster is too small for {' and '.join(map(str, reservations))} ({describe(nodes)}; each "
                    f"must fit on one node): add nodes, or lower {', '.join(other.settings for other in reservations)}"
                )
            for name in _COUNTED:
                node[name] = node.get(name, 0.0) - one.resources.get(name, 0.0)
    return None


def wait_for_nodes(required: Sequence[Reservation], wait_s: float) -> str | None:
    """Waits until processes can all be placed; why they still cannot, where time is up.

    A placement group that waits for its place makes an autoscaler start nodes, and is this job's alone: it goes with
    it. (``request_resources`` would be one wish for the whole cluster, which stands until it is taken back.)
    """
    wanted = [{name: value for name, value in one.resources.items() if value} for one in required]
    bundles = [one for one, reservation in zip(wanted, required, strict=True) for _ in range(reservation.count) if one]
    group = placement_group(bundles, strategy="PACK")
    deadline, told_at = time.monotonic() + wait_s, -math.inf
    try:
        while (misfit := find_misfit(required, live_nodes())) is not None:
            now = time.monotonic()
            if now > deadline:
                return f"{misfit} (waited {wait_s:g} s, cluster.wait_for_nodes_s; `ray status` says what did not come)"
            if now > told_at + _TOLD_EVERY_S:
                say(f"waiting for nodes, up to {deadline - now:.0f} s more: {describe(live_nodes())} is not enough yet")
                told_at = now
            time.sleep(_LOOK_EVERY_S)
    finally:
        remove_placement_group(group)
    return None


def live_nodes() -> list[dict[str, float]]:
    """What each node that is alive has in all."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def what_is_there() -> str:
    """The nodes that are alive now, and what of them nobody holds, in words."""
    available: Resources = ray.available_resources()  # type: ignore[no-untyped-call]
    return f"the cluster has {describe(live_nodes())} now, with {in_words(available)} free"


def describe(nodes: Iterable[Resources]) -> str:
    """Nodes in words, equal ones together."""
    counts = Counter(in_words(node) for node in nodes)
    found = (f"{count} node{'s' if count > 1 else ''} of {words}" for words, count in sorted(counts.items()))
    return ", ".join(found) or "no node"


def in_words(resources: Resources) -> str:
    """CPUs, and GPUs where there are any."""
    cpus = f"{resources.get('CPU', 0.0):g} CPU"
    return f"{cpus} and {resources['GPU']:g} GPU" if resources.get("GPU") else cpus


def _fits(wanted: Resources, free: Resources) -> bool:
    return all(wanted.get(name, 0.0) <= free.get(name, 0.0) + _TOLERANCE for name in _COUNTED)


def _num_gpus(node: Resources) -> float:
    return node.get("GPU", 0.0)
