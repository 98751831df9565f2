"""How long each stage of a refresh takes, and what it waits for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.config import RunConfig
from pipeline.planning.cluster import PlannedCluster
from pipeline.planning.rates import Rates, SearchRates
from pipeline.planning.traffic import Traffic
from pipeline.planning.workload import Workload

_FEWEST_PENDING, _PENDING_SHARE = 1 << 22, 0.5
"""As ``triplets.neighbours``: how many triplets are waited for before labels are summed up, and of those that stand."""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: As its progress line begins.
        seconds: Expected.
        bound_by: What it would be faster with: reading, decoding, encoding or writing (of embedding actors), actors,
            driver, cores, network, start.
    """

    name: str
    seconds: float
    bound_by: str


class Compared(NamedTuple):
    """A stage as it was planned and as it was measured, in seconds."""

    stage: str
    planned_s: float
    measured_s: float


def num_triplets(config: RunConfig, work: Workload, rates: Rates) -> float:
    """Triplets that a generation is expected to hold."""
    return work.num_pairs * config.mining.negatives_per_pair * rates.answered_share


def stages_of(
    config: RunConfig, work: Workload, cluster: PlannedCluster, rates: Rates, traffic: Traffic
) -> list[Stage]:
    """The stages of a refresh, in their order."""
    actors, shared = cluster.busy_actors(config), min(cluster.busy_actors(config), work.num_shards)
    open_s = work.num_examples * rates.driver.open_s_per_example
    found = [Stage("start", rates.session_s + open_s, "start")]
    found.append(_embed(config, work, cluster, rates, traffic))
    group_s = work.num_mined * rates.driver.group_s_per_example
    load_s = work.num_examples * rates.load_s_per_example / shared
    network_s = _across(cluster, traffic.embedding_bytes)
    found.append(_longest("load", {"actors": load_s, "network": network_s}, ("driver", group_s)))
    if config.mining.audit.num_neighbours:
        found.append(_audit(config, work, cluster, rates, traffic))
    found.append(_mine(config, work, cluster, rates, traffic))
    pairs = config.mining.verify_anchors * work.num_pairs / max(work.num_anchors, 1.0)
    compared = pairs * work.num_mined * config.mining.candidate_fraction
    found.append(Stage("verify", compared * rates.verify_s_per_comparison / min(actors, shared), "actors"))
    label_pairs = num_triplets(config, work, rates) * rates.label_pairs_per_triplet
    found.append(Stage("publish", rates.publish_s + label_pairs * rates.driver.tally_s_per_label_pair, "driver"))
    return found


def _embed(config: RunConfig, work: Workload, cluster: PlannedCluster, rates: Rates, traffic: Traffic) -> Stage:
    embed = rates.embed
    parts = {
        "reading": embed.read_s_per_example,
        "decoding": embed.decode_s_per_example,
        "encoding": embed.encode_s_per_example,
        "writing": embed.write_s_per_example,
    }
    work_s = work.num_examples * sum(parts.values()) / min(cluster.busy_actors(config), work.num_parts)
    start_s = rates.actor_start_s + work.num_examples * rates.driver.open_s_per_example
    slowest = max(parts, key=lambda name: parts[name]) if work_s > start_s else "start"
    network_s = _across(cluster, traffic.corpus_bytes + traffic.embedding_bytes)
    return _longest("embed", {slowest: work_s, "network": network_s}, ("start", start_s))


def _audit(config: RunConfig, work: Workload, cluster: PlannedCluster, rates: Rates, traffic: Traffic) -> Stage:
    own_s = work.num_own * rates.own_s_per_mate
    search_s = _search_s(rates.audit, config, work, work.num_mined, work.num_mined)
    merge_s = _merge_s(rates, work.num_answers, work.num_mined, config.mining.audit.num_neighbours)
    driver_s = merge_s + work.num_mined * rates.driver.judge_s_per_example + _task_s(rates, work)
    return _searched("audit", config, cluster, own_s + search_s, driver_s, traffic.audit)


def _mine(config: RunConfig, work: Workload, cluster: PlannedCluster, rates: Rates, traffic: Traffic) -> Stage:
    pair_s = work.num_mates * rates.pair_s_per_mate
    search_s = _search_s(rates.mine, config, work, work.num_anchors, work.num_pairs)
    triplets = num_triplets(config, work, rates)
    driver_s = (
        _merge_s(rates, work.num_answers, work.num_pairs, config.mining.negatives_per_pair)
        + triplets * rates.driver.harvest_s_per_triplet
        + _rows_summed_up(triplets, rates.label_pairs_per_triplet) * rates.driver.tally_s_per_label_pair
    )
    driver_s += _task_s(rates, work)
    return _searched("mine", config, cluster, pair_s + search_s, driver_s, traffic.mine)


def _task_s(rates: Rates, work: Workload) -> float:
    """Driver's seconds for the tasks of a pass: one to build each block's queries, one for each of its answers."""
    return work.num_blocks * (work.num_answers + 1) * rates.driver.s_per_task


def _search_s(rates: SearchRates, config: RunConfig, work: Workload, num_anchors: float, num_pairs: float) -> float:
    """Actors' seconds of all blocks against all shards."""
    candidates = work.num_mined / work.num_answers * config.mining.candidate_fraction
    return work.num_answers * rates.seconds(num_anchors, num_pairs, candidates)


def _merge_s(rates: Rates, num_answers: int, num_pairs: float, num_negatives: int) -> float:
    """Driver's seconds for the answers; the s-th has something new for a pair as ``Nearest.merge`` says."""
    answers = np.arange(1, num_answers + 1)
    num_new = float(np.sum(1.0 - (1.0 - 1.0 / answers) ** num_negatives))
    driver = rates.driver
    return num_pairs * (num_answers * driver.look_s_per_pair + num_new * num_negatives * driver.join_s_per_value)


def _rows_summed_up(num_triplets: float, pairs_per_triplet: float) -> float:
    """How many rows pass through the sums while triplets come in: again and again those that stand already."""
    rows, taken = 0.0, 0.0
    while (pending := max(_FEWEST_PENDING, _PENDING_SHARE * pairs_per_triplet * taken)) <= num_triplets - taken:
        rows += pairs_per_triplet * taken + pending
        taken += pending
    return rows


def _searched(
    name: str,
    config: RunConfig,
    cluster: PlannedCluster,
    actors_s: float,
    driver_s: float,
    network: tuple[float, float],
) -> Stage:
    """A pass of the search: actors, driver and links work at once, and the slowest sets the pace.

    On CPUs the driver takes its time from the cores that the actors want.
    """
    everywhere, to_driver = network
    times = {
        "actors": actors_s / cluster.busy_actors(config),
        "driver": driver_s,
        "network": max(_across(cluster, everywhere), to_driver / cluster.network_bytes_per_s),
    }
    if config.cluster.gpus_per_actor == 0:
        times["cores"] = (actors_s * config.cluster.threads_per_actor + driver_s) / cluster.num_cpus
    return _longest(name, times)


def _across(cluster: PlannedCluster, num_bytes: float) -> float:
    """Seconds for bytes that all links share; on one node nothing is counted."""
    return 0.0 if cluster.num_nodes == 1 else num_bytes / (cluster.num_nodes * cluster.network_bytes_per_s)


def _longest(name: str, at_once: Mapping[str, float], then: tuple[str, float] = ("", 0.0)) -> Stage:
    """What runs at once takes as long as the longest of it; ``then`` comes after (or before)."""
    slowest = max(at_once, key=lambda what: at_once[what])
    bound_by = then[0] if then[1] > at_once[slowest] else slowest
    return Stage(name, at_once[slowest] + then[1], bound_by)
