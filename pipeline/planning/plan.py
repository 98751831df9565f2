"""The plan of one refresh: time, room, traffic, money, and what is in the way."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config import RunConfig
from pipeline.mining.backends.registry import BACKENDS, choose_backend
from pipeline.planning.cluster import PlannedCluster
from pipeline.planning.rates import Rates
from pipeline.planning.room import Need, driver_bytes, needs_of
from pipeline.planning.stages import Stage, num_triplets, stages_of
from pipeline.planning.traffic import Traffic, traffic_of
from pipeline.planning.workload import Workload, count
from pipeline.stages.mine.search import shards_in_turn
from pipeline.units import in_bytes, in_time

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Plan:
    """What to expect of one refresh.

    Attributes:
        work: How much there is to do.
        num_triplets: How many will be published.
        stages: In their order.
        train_s: The steps of a round, between two refreshes, without what workers tell one another; None where they
            were not measured.
        needs: What must fit.
        driver_bytes: Memory of the driver alone.
        traffic: What travels.
        cost: Of the refresh, in the currency of the price; None without a price.
        warnings: What does not fit, or is not used, and the setting to change.
    """

    work: Workload
    num_triplets: float
    stages: list[Stage]
    train_s: float | None
    needs: list[Need]
    driver_bytes: float
    traffic: Traffic
    cost: float | None
    warnings: list[str]

    @property
    def seconds(self) -> float:
        """From the session's start to the published manifest."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def bound_by(self) -> Stage:
        """The longest stage."""
        return max(self.stages, key=lambda stage: stage.seconds)

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self) | {
            "seconds": self.seconds,
            "bound_by": asdict(self.bound_by),
            "traffic": asdict(self.traffic)
            | {"store_bytes": self.traffic.store_bytes, "node_bytes": self.traffic.node_bytes},
            "needs": [asdict(need) | {"fits": need.fits} for need in self.needs],
        }


def _num_answers(config: RunConfig, cluster: PlannedCluster, num_examples: int, num_shards: int) -> int:
    """Tasks that search the shards for a block, where these are spread evenly over the nodes."""
    device, backend = config.cluster.actor_device, config.mining.backend
    if BACKENDS[choose_backend(device) if backend == "auto" else backend].keeps_state:
        return num_shards
    together = shards_in_turn(num_shards, num_examples)
    of_nodes = (len(range(node, num_shards, cluster.num_nodes)) for node in range(cluster.num_nodes))
    return sum(-(-number // together) for number in of_nodes)


def make_plan(config: RunConfig, rates: Rates, cluster: PlannedCluster, num_examples: int, num_shards: int) -> Plan:
    """Multiplies rates, which were measured with this config (see ``Rates.check_fit``), by counts."""
    work = count(
        config, rates.corpus, num_examples, num_shards, _num_answers(config, cluster, num_examples, num_shards)
    )
    triplets = num_triplets(config, work, rates)
    traffic = traffic_of(config, work, cluster, rates, triplets)
    stages = stages_of(config, work, cluster, rates, traffic)
    needs = needs_of(config, work, cluster, rates, traffic, triplets)
    seconds, price = sum(stage.seconds for stage in stages), cluster.price_per_node_hour
    training, train_s = config.training, None
    if rates.train_s_per_step is not None:
        train_s = rates.train_s_per_step * training.steps_per_round / training.num_workers
    return Plan(
        work=work,
        num_triplets=triplets,
        stages=stages,
        train_s=train_s,
        needs=needs,
        driver_bytes=driver_bytes(config, work, rates, triplets),
        traffic=traffic,
        cost=None if price is None else price * cluster.num_nodes * seconds / 3600,
        warnings=[*_shortages(needs), *_unused(config, cluster, rates), *_slow(config, work, stages)],
    )


def _shortages(needs: list[Need]) -> list[str]:
    return [
        f"{need.where}: {in_bytes(need.num_bytes)} ({need.what}) do not fit into {in_bytes(need.limit_bytes)}: "
        f"{need.remedy}"
        for need in needs
        if need.limit_bytes is not None and not need.fits
    ]


def _unused(config: RunConfig, cluster: PlannedCluster, rates: Rates) -> list[str]:
    """Actors that are too few, too many, or more to a node than were measured."""
    asked, room = config.cluster.num_actors, cluster.room_for(config)
    kind = "GPUs" if config.cluster.gpus_per_actor > 0 else "cores"
    found = []
    if room == 0:
        return ["the actors reserve GPUs, and the nodes have none: set cluster.gpus_per_actor 0 or plan for others"]
    if asked < room:
        found.append(f"{asked} actors leave {kind} idle: cluster.num_actors {room} would use all")
    if asked > room:
        found.append(f"{asked} actors share {kind} for {room}: more than cluster.num_actors {room} bring nothing")
    per_node = -(-min(asked, room) // cluster.num_nodes)
    if per_node > rates.actors_at_once:
        found.append(
            f"rates were measured with {rates.actors_at_once} actors at work, and {per_node} are planned for a node: "
            "they may slow one another down; measure on such a node with --measure"
        )
    return found


def _slow(config: RunConfig, work: Workload, stages: list[Stage]) -> list[str]:
    """A driver that cannot keep up, and searches that take days."""
    searches = [stage for stage in stages if stage.name in ("audit", "mine")]
    found = []
    for stage in searches:
        if stage.bound_by == "driver":
            advice = [f"fewer, larger shards (cluster.num_shards, {work.num_shards:,} now)"] * (work.num_shards > 1)
            advice += ["fewer positives (mining.positives)"] * (stage.name == "mine")
            advice += ["mining.audit.num_neighbours 0"] * (stage.name == "audit")
            found.append(f"{stage.name} waits for the driver, which joins the shards' answers: {' or '.join(advice)}")
    seconds = sum(stage.seconds for stage in searches)
    if seconds > _DAY_S:
        share = float(f"{config.mining.candidate_fraction * _DAY_S / seconds:.0e}")  # one significant digit
        found.append(
            f"the search takes {in_time(seconds)}: more nodes, or mining.candidate_fraction {share:g}, which brings it "
            f"near a day where candidates are what takes it (what it finds has rank {1 / share:,.0f} in the mean)"
        )
    return found
