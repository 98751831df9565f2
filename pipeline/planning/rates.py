"""What was measured of a machine and a config: the numbers that a plan multiplies."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.config import RunConfig
from pipeline.errors import InputError

Seconds = Annotated[float, Field(ge=0.0)]
Bytes = Annotated[float, Field(ge=0.0)]

_NEIGHBOURS = "mining.audit.num_neighbours"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Machine(_Record):
    """A node as it was measured; nodes of a plan are like it unless the command line says otherwise."""

    name: str
    num_cpus: Annotated[int, Field(ge=1)]
    memory_bytes: Bytes
    disk_free_bytes: Bytes
    """Where Ray spills and trainers cache."""
    num_gpus: Annotated[int, Field(ge=0)] = 0
    gpu_memory_bytes: Bytes = 0.0
    """Of each."""


class SearchRates(_Record):
    """Seconds of one actor for a block of anchors against one shard: linear in pairs, in their looks, in products.

    The best negative so far improves about ln N times in a shard of N, and each time a candidate is looked at again.
    """

    s_per_pair: Seconds
    s_per_look: Seconds
    """Times pairs, times ln of the shard's candidates."""
    s_per_product: Seconds
    """Times anchors, times candidates."""

    def seconds(self, num_anchors: float, num_pairs: float, num_candidates: float) -> float:
        """Of one actor, for one shard."""
        looks = np.log(max(num_candidates, 1.0))
        per_pair = self.s_per_pair + self.s_per_look * float(looks)
        return num_pairs * per_pair + num_anchors * num_candidates * self.s_per_product


class EmbedRates(_Record):
    """Seconds of one actor for an example, and what else embedding costs."""

    read_s_per_example: Seconds
    """From the store, with its digest and Parquet."""
    decode_s_per_example: Seconds
    encode_s_per_example: Seconds
    write_s_per_example: Seconds
    """To the store."""
    stored_bytes_per_example: Bytes


class DriverRates(_Record):
    """Seconds of the one process that hands out the work and takes in the answers."""

    s_per_task: Seconds
    """Round trip of an actor's call that does nothing, divided by the actors that answer at once."""
    open_s_per_example: Seconds
    """Reading the corpus's labels; every actor does it too."""
    group_s_per_example: Seconds
    """Who shares a label with whom."""
    judge_s_per_example: Seconds
    """Of the audit."""
    look_s_per_pair: Seconds
    """At a shard's answer for a pair that it has nothing new for."""
    join_s_per_value: Seconds
    """Of one that it has: times pairs, times negatives."""
    harvest_s_per_triplet: Seconds
    """Counting, encoding as Parquet, putting into the store."""
    tally_s_per_label_pair: Seconds
    """Each time that the labels joined so far are summed up."""


class CorpusFacts(_Record):
    """The corpus that was measured; plans for other numbers of examples keep its shape."""

    num_examples: Annotated[int, Field(ge=1)]
    label_sizes: tuple[tuple[int, int], ...]
    """(examples, labels of so many), of the labels that are mined."""
    stored_bytes: Bytes
    payload_bytes: Bytes
    """Unpacked, as trainers cache it."""
    num_parts: Annotated[int, Field(ge=1)]
    mates_per_anchor: Annotated[float, Field(ge=0.0)]
    """Examples that share a label with an anchor of a block, over its anchors: 1 where labels lie together, up to the
    size of a label where the corpus is shuffled."""


class Rates(_Record):
    """Everything that was measured."""

    format: Literal[1] = 1
    measured_with: dict[str, Any]
    """The settings that decide the rates; a config that says otherwise wants other rates."""
    machine: Machine
    corpus: CorpusFacts
    num_nodes: Annotated[int, Field(ge=1)] = 1
    actors_at_once: Annotated[int, Field(ge=1)]
    """How many were busy on a node while it was measured."""
    session_s: Seconds
    """Of starting Ray and the actors, and of stopping them."""
    actor_start_s: Seconds
    """An actor's first call: what it imports, opens, loads and compiles."""
    actor_idle_bytes: Bytes
    """Resident, with the encoder loaded."""
    actor_block_bytes: Bytes
    """What a block takes beyond that, at its peak."""
    driver_idle_bytes: Bytes
    gpu_bytes: Bytes = 0.0
    """Peak of an actor on its GPU while it was measured."""
    embed: EmbedRates
    load_s_per_example: Seconds
    """An actor's, for the shards in shared memory."""
    pair_s_per_mate: Seconds
    """Choosing positives: times anchors, times the others of their label."""
    own_s_per_mate: Seconds
    """The same for the audit."""
    mine: SearchRates
    audit: SearchRates
    verify_s_per_comparison: Seconds
    """Brute force: times pairs, times candidates."""
    publish_s: Seconds
    bytes_per_triplet: Bytes
    answered_share: Annotated[float, Field(ge=0.0, le=1.0)]
    """Negatives found, of those asked for."""
    label_pairs_per_triplet: Annotated[float, Field(ge=0.0, le=1.0)]
    """Different (label, label of the negative), over triplets."""
    driver: DriverRates
    train_s_per_step: Seconds | None = None
    """Of the config's whole batch on one worker; None where nothing is trained."""

    def check_fit(self, config: RunConfig) -> None:
        """Refuses to plan with rates of something else.

        Raises:
            InputError: A setting that decides them differs.
        """
        asked = deciding_settings(config)
        for name, measured in self.measured_with.items():
            if name == _NEIGHBOURS and not asked[name]:
                continue  # a pass less
            if asked.get(name) != measured:
                raise InputError(
                    f"the rates were measured with {name} {measured}, and the config says {asked.get(name)}: measure "
                    "again with --measure FILE, or plan with the config that was measured"
                )


def deciding_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that decide rates; the others (shards, actors, candidate_fraction …) a plan may change."""
    mining, cluster = config.mining, config.cluster
    return {
        "encoder.name": config.encoder.name,
        "encoder.embedding_dim": config.encoder.embedding_dim,
        "encoder.options": config.encoder.options,
        "transform": config.transform.model_dump(),
        "embed": config.embed.model_dump(),
        "mining.backend": mining.backend,
        "mining.positives": mining.positives.model_dump(),
        "mining.band": mining.band.model_dump(),
        "mining.negatives_per_pair": mining.negatives_per_pair,
        _NEIGHBOURS: mining.audit.num_neighbours,
        "cluster.gpus_per_actor": cluster.gpus_per_actor,
        "cluster.threads_per_actor": cluster.threads_per_actor,
    }
