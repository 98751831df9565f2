"""Rates of a machine that does not exist: round numbers, so that sums can be done by hand."""

from typing import Any

from pipeline.config import ClusterConfig, EncoderConfig, MiningConfig, PositivesConfig, RunConfig
from pipeline.planning.cluster import PlannedCluster
from pipeline.planning.rates import (
    CorpusFacts,
    DriverRates,
    EmbedRates,
    Machine,
    Rates,
    SearchRates,
    deciding_settings,
)

CONFIG = RunConfig(
    encoder=EncoderConfig(name="identity", embedding_dim=100),
    mining=MiningConfig(positives=PositivesConfig(policy="all", max_per_anchor=4)),
    cluster=ClusterConfig(num_actors=2, num_shards=2, anchors_per_block=1000),
)
MACHINE = Machine(name="m", num_cpus=2, memory_bytes=8e9, disk_free_bytes=1e12)
NONE = SearchRates(s_per_pair=0.0, s_per_look=0.0, s_per_product=0.0)


def rates(**changes: Any) -> Rates:  # noqa: ANN401
    """10,000 examples, ten a label; only a search's products and the encoder take time, unless changed."""
    nothing = DriverRates(**dict.fromkeys(DriverRates.model_fields, 0.0))
    facts: dict[str, Any] = {
        "measured_with": deciding_settings(CONFIG),
        "machine": MACHINE,
        "corpus": CorpusFacts(
            num_examples=10_000,
            label_sizes=((10, 1000),),
            stored_bytes=1e6,
            payload_bytes=4e6,
            num_parts=10,
            mates_per_anchor=1.0,
        ),
        "actors_at_once": 2,
        "session_s": 5.0,
        "actor_start_s": 0.0,
        "actor_idle_bytes": 3e8,
        "actor_block_bytes": 1e8,
        "driver_idle_bytes": 2e8,
        "embed": EmbedRates(
            read_s_per_example=1e-5,
            decode_s_per_example=1e-5,
            encode_s_per_example=1e-3,
            write_s_per_example=1e-5,
            stored_bytes_per_example=408.0,
        ),
        "load_s_per_example": 0.0,
        "pair_s_per_mate": 0.0,
        "own_s_per_mate": 0.0,
        "mine": SearchRates(s_per_pair=0.0, s_per_look=0.0, s_per_product=1e-6),
        "audit": NONE,
        "verify_s_per_comparison": 0.0,
        "publish_s": 0.0,
        "bytes_per_triplet": 10.0,
        "answered_share": 0.5,
        "label_pairs_per_triplet": 0.1,
        "driver": nothing,
    }
    return Rates(**facts | changes)


def cluster(num_nodes: int = 1, **machine: Any) -> PlannedCluster:  # noqa: ANN401
    """Nodes of two cores with links of 1 GB/s."""
    return PlannedCluster(MACHINE.model_copy(update=machine), num_nodes, 1e9)
