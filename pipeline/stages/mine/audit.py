"""Audit: can these embeddings be mined, and what do the examples' nearest neighbours make suspect?"""

import uuid
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.config import AuditConfig, RunConfig
from pipeline.mining.audit.hubs import Hubs
from pipeline.mining.audit.moments import AuditReport, audit, check_broken
from pipeline.mining.audit.neighbours import concat_blocks, neighbour_statistics, num_own
from pipeline.mining.audit.suspects import MinDistances, Suspects, find_suspects, find_twins
from pipeline.mining.shards import LabelGroups
from pipeline.progress import stage
from pipeline.stages.mine.queries import build_neighbour_queries
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.search import QuerySpec, run_search
from pipeline.stages.mine.shard_loader import ShardStatistics
from pipeline.stages.mine.shards import LoadedShard, ShardedCorpus, drop_from
from pipeline.stages.mine.worker import RefreshPool, Search
from pipeline.triplets.quarantine import Evidence, quarantine_rows


@dataclass(frozen=True)
class AuditedCorpus:
    """What may be mined, and what the audit found.

    Attributes:
        sharded: The training examples that may be mined.
        search: What is asked of their shards.
        min_distances: How near negatives may not be, where suspicious pairs are left out.
        report: What the audit saw of the embeddings.
        figures: What it saw of neighbours, by name.
        quarantine: What was left out or is suspect, and why.
        quarantined: How many, by reason.
    """

    sharded: ShardedCorpus
    search: Search
    min_distances: MinDistances | None
    report: AuditReport
    figures: dict[str, float]
    quarantine: pa.Table
    quarantined: dict[str, int]


def audit_shards(
    pool: RefreshPool, request: RefreshRequest, shards: list[LoadedShard], statistics: ShardStatistics
) -> AuditedCorpus:
    """Looks at the loaded embeddings, and leaves out what must not be mined.

    Raises:
        AuditRefusedError: The embeddings cannot be mined.
        InputError: The training examples cannot form a triplet.
    """
    config, rules = request.config, request.config.mining.audit
    check_broken(statistics.num_broken, statistics.num_broken + len(statistics.ids_N), rules)
    groups = LabelGroups(statistics.ids_N, statistics.labels_N)
    sharded = ShardedCorpus.of(shards, groups)
    search = Search(uuid.uuid4().hex, config.mining, request.backend, config.mining.negatives_per_pair)
    report = audit(statistics.moments, len(groups.labels_G), rules)
    tables = [
        quarantine_rows("non_finite_embedding", statistics.non_finite, excluded=True),
        quarantine_rows("zero_embedding", statistics.zero, excluded=True),
    ]
    quarantined = {"non_finite_embedding": len(statistics.non_finite), "zero_embedding": len(statistics.zero)}
    figures: dict[str, float] = {}
    min_distances: MinDistances | None = None
    if rules.num_neighbours:
        neighbour_search = replace(search, num_negatives=rules.num_neighbours)
        suspects = search_suspects(pool, config, sharded, neighbour_search, report.spread)
        rows, counts = suspect_rows(suspects, rules, request.job.corpus.label_names)
        tables, quarantined = tables + rows, quarantined | counts
        figures["neighbour_accuracy"] = suspects.neighbour_accuracy
        if rules.quarantine == "exclude":
            min_distances = suspects.min_distances
            if len(suspects.mislabelled):
                sharded = drop_from(config, sharded, statistics, suspects.mislabelled.ids_R)
                search = replace(search, mining_pass=uuid.uuid4().hex)  # actors made theirs of other shards
    singletons = sharded.groups.singletons
    tables.append(quarantine_rows("singleton", singletons, excluded=False))
    quarantined["singleton"] = len(singletons)
    return AuditedCorpus(sharded, search, min_distances, report, figures, pa.concat_tables(tables), quarantined)


def search_suspects(
    pool: RefreshPool, config: RunConfig, sharded: ShardedCorpus, search: Search, spread: float
) -> Suspects:
    """Finds the nearest neighbours of all examples that may be mined, and judges by them.

    It is one more mining pass, with one pair an anchor, no band and ``num_neighbours`` negatives.

    Args:
        pool: Actors.
        config: The run; ``mining.audit.num_neighbours`` is at least 1.
        sharded: What is searched; where candidates are sampled, neighbours are of the sample.
        search: The pass, with whose indexes mining goes on.
        spread: Of the embeddings; see ``AuditReport``.
    """
    audit, size, groups = config.mining.audit, config.cluster.anchors_per_block, sharded.groups
    ids_N = np.sort(groups.ids_N)
    blocks = [ids_N[start : start + size] for start in range(0, len(ids_N), size)]
    args = (sharded.shared_groups, audit, num_own(groups, audit.closer_than_share), config.seed)
    specs = (QuerySpec(build_neighbour_queries, (block, *args), groups.same_label_ids(block)) for block in blocks)
    statistics, twins, twin_distance = [], [], audit.near_duplicate_share * spread
    with stage("audit", len(ids_N), "examples") as advance:
        for number, block in run_search(pool, config.cluster, sharded, search, specs):
            anchors, share = blocks[number], audit.closer_than_share
            statistics.append(neighbour_statistics(anchors, block.nearest, block.pairs, groups, share))
            twins.append(find_twins(anchors, block.nearest, twin_distance))
            advance(len(anchors))
    return find_suspects(concat_blocks(statistics), twins, twin_distance, audit.min_label_noise)


def suspect_rows(
    suspects: Suspects, config: AuditConfig, label_names: list[str]
) -> tuple[list[pa.Table], dict[str, int]]:
    """The quarantine's rows of suspects, and how many there are of each reason, listed or not."""
    excluded = config.quarantine == "exclude"
    pairs = {
        "near_duplicate_across_labels": suspects.near_duplicates,
        "mutual_neighbours_across_labels": suspects.mutual_neighbours,
        "false_negative_suspect": suspects.false_negatives,
    }
    counts = {"label_noise_suspect": len(suspects.mislabelled)}
    # What was excluded is listed to the last, as trainers go by the list.
    listed = slice(None if excluded else config.max_rows_per_reason)
    mislabelled = suspects.mislabelled.take(listed)
    tables = [
        quarantine_rows(
            "label_noise_suspect",
            mislabelled.ids_R,
            Evidence(score_R=mislabelled.score_R, suggested_R=[label_names[code] for code in mislabelled.suggested_R]),
            excluded=excluded,
        )
    ]
    for reason, found in pairs.items():
        counts[reason] = len(found)
        rows = found.take(listed)
        # Of the others the distance says it all.
        score_R = rows.score_R if reason == "false_negative_suspect" else None
        evidence = Evidence(rows.other_R, rows.distance_R, score_R)
        tables.append(quarantine_rows(reason, rows.anchor_R, evidence, excluded=excluded))
    return tables, counts


def hub_rows(hubs: Hubs, config: AuditConfig) -> pa.Table:
    """The quarantine's rows of hubs; the score is the number of triplets."""
    listed = slice(config.max_rows_per_reason)
    evidence = Evidence(score_R=hubs.counts_H[listed].astype(np.float32))
    return quarantine_rows("hub", hubs.ids_H[listed], evidence, excluded=config.quarantine == "exclude")
