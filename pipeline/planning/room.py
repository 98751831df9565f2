"""What must fit: memory of a node, of the driver and of a GPU, Ray's shared memory, disks."""

from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.planning.cluster import PlannedCluster
from pipeline.planning.rates import Rates
from pipeline.planning.traffic import Traffic, vector_bytes
from pipeline.planning.workload import Workload

RAY_SHARED_SHARE = 0.3
"""Of a node's memory, which Ray takes for its object store unless it is started with --object-store-memory."""

# Bytes an example, as NumPy holds it.
_LABEL_BYTES = 5  # in every process that opens the corpus: its label's code, and whether it is for tests
_OPENING_BYTES = 21  # meanwhile: ids and codes as they were read, too
_SHARD_BYTES = 12  # id and label beside a vector
_GROUP_BYTES = 28  # who shares a label with whom: three ids and a code
_CENSUS_BYTES = 12  # the driver's list of what the shards hold
_NEIGHBOUR_BYTES = 88  # what the audit keeps of an example, twice while blocks are joined, and their order
_COUNT_BYTES = 8  # of how many triplets it is the negative
_LABEL_PAIR_BYTES = 85  # two codes, a count and a distance; at the peak, while they are summed up and ranked
_GPU_BYTES = 36  # id, label and norms
_GPU_OPERANDS = 6  # times dimensions: three parts of 16 bits


@dataclass(frozen=True)
class Need:
    """Something that must fit.

    Attributes:
        where: Whose memory or disk.
        what: Its largest parts, in words.
        num_bytes: Expected at its peak.
        limit_bytes: What there is; None where that is not known.
        remedy: What to change where it does not fit.
    """

    where: str
    what: str
    num_bytes: float
    limit_bytes: float | None
    remedy: str

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.limit_bytes is None or self.num_bytes <= self.limit_bytes


def needs_of(
    config: RunConfig, work: Workload, cluster: PlannedCluster, rates: Rates, traffic: Traffic, num_triplets: float
) -> list[Need]:
    """All that must fit, for one refresh; the cache of the corpus is a trainer's."""
    machine = cluster.machine
    shared, driver = _shared_bytes(config, work, cluster), driver_bytes(config, work, rates, num_triplets)
    actors = -(-config.cluster.num_actors // cluster.num_nodes)
    opening = actors * (rates.actor_idle_bytes + work.num_examples * _OPENING_BYTES)
    fetched = config.cluster.anchors_per_block * rates.corpus.mates_per_anchor * vector_bytes(config)
    one_at_work = rates.actor_idle_bytes + rates.actor_block_bytes + fetched + work.num_examples * _LABEL_BYTES
    at_work = actors * one_at_work + shared
    per_actor = f"{actors} actors' tables of labels"
    fewer = "fewer actors a node (cluster.num_actors), more nodes (--nodes), or embed.dtype float16"
    found = [
        Need("memory of a node", f"shards, {per_actor}", max(opening, at_work), machine.memory_bytes, fewer),
        Need(
            "shared memory of a node",
            "shards, who shares a label",
            shared,
            RAY_SHARED_SHARE * machine.memory_bytes,
            "more nodes (--nodes), embed.dtype float16, or Ray started with a larger --object-store-memory: beyond "
            "it Ray spills to disk",
        ),
        Need(
            "memory of the driver's node",
            "the driver's tables of ids and labels, beside the actors",
            driver + max(opening, at_work),
            machine.memory_bytes,
            "a driver's node with more memory, fewer actors on it, mining.audit.num_neighbours 0, or a part of the "
            "corpus",
        ),
        Need("workspace", "embeddings and triplets", traffic.embedding_bytes + traffic.triplet_bytes, None, ""),
        Need(
            "disk of a training node",
            "cache of the corpus",
            work.payload_bytes,
            machine.disk_free_bytes,
            "cluster.cache_dir on a larger disk",
        ),
    ]
    if config.cluster.gpus_per_actor > 0:
        found.append(_gpu(config, work, cluster, rates))
    return found


def _shared_bytes(config: RunConfig, work: Workload, cluster: PlannedCluster) -> float:
    """A node holds its shards once for all of its actors, and the samples of them that are searched."""
    fraction = config.mining.candidate_fraction
    copies = 1.0 + (fraction if fraction < 1.0 else 0.0)
    shards = work.num_mined * (vector_bytes(config) + _SHARD_BYTES) * copies / cluster.num_nodes
    return shards + work.num_mined * _GROUP_BYTES


def driver_bytes(config: RunConfig, work: Workload, rates: Rates, num_triplets: float) -> float:
    """Memory of the driver alone, at its peak."""
    held = work.num_examples * _LABEL_BYTES + work.num_mined * (_CENSUS_BYTES + _GROUP_BYTES)
    judging = work.num_mined * _NEIGHBOUR_BYTES if config.mining.audit.num_neighbours else 0.0
    counting = work.num_examples * _COUNT_BYTES + num_triplets * rates.label_pairs_per_triplet * _LABEL_PAIR_BYTES
    opening = work.num_examples * _OPENING_BYTES
    return rates.driver_idle_bytes + max(opening, held + max(judging, counting))


def _gpu(config: RunConfig, work: Workload, cluster: PlannedCluster, rates: Rates) -> Need:
    vector, dims = vector_bytes(config), config.encoder.embedding_dim
    candidates = work.num_mined * config.mining.candidate_fraction / cluster.busy_actors(config)
    searched = candidates * (vector + max(vector, _GPU_OPERANDS * dims) + _GPU_BYTES)
    return Need(
        "memory of a GPU",
        "an actor's shards; or the encoder and a batch",
        max(searched, rates.gpu_bytes),
        cluster.machine.gpu_memory_bytes * min(1.0, config.cluster.gpus_per_actor),
        "more GPUs (--nodes, cluster.num_actors), mining.candidate_fraction, or a smaller embed.batch_size",
    )
