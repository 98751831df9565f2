"""The cluster that is planned for: equal nodes, the actors on them, and the link between them."""

from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.planning.rates import Machine


@dataclass(frozen=True)
class PlannedCluster:
    """Equal nodes; the driver runs on one of them.

    Attributes:
        machine: One of them.
        num_nodes: How many.
        network_bytes_per_s: Of each node's link, to the others and to the store.
        price_per_node_hour: In any currency; None where it does not matter.
    """

    machine: Machine
    num_nodes: int = 1
    network_bytes_per_s: float = 10e9 / 8
    price_per_node_hour: float | None = None

    @property
    def num_cpus(self) -> int:
        """Cores of all nodes."""
        return self.num_nodes * self.machine.num_cpus

    def room_for(self, config: RunConfig) -> int:
        """Actors that would keep all its GPUs busy, or all its cores."""
        gpus = config.cluster.gpus_per_actor
        if gpus > 0:
            return int(self.num_nodes * self.machine.num_gpus / gpus)
        return max(1, self.num_cpus // config.cluster.threads_per_actor)

    def busy_actors(self, config: RunConfig) -> int:
        """Actors that work at once: those there are, but no more than find a core (or a GPU)."""
        return max(1, min(config.cluster.num_actors, self.room_for(config)))
