"""Audit: every training example's nearest neighbours, over the pool, and what they make suspect."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.config import AuditConfig, RunConfig
from pipeline.mining.audit.hubs import Hubs
from pipeline.mining.audit.neighbours import join, look_around, num_own
from pipeline.mining.audit.suspects import Suspects, find_suspects, find_twins
from pipeline.progress import stage
from pipeline.stages.mine.queries import ask_for_neighbours
from pipeline.stages.mine.search import Question, run_search
from pipeline.stages.mine.shard_loader import ShardStatistics
from pipeline.stages.mine.shards import Loaded
from pipeline.stages.mine.worker import RefreshPool, Search
from pipeline.triplets.quarantine import quarantine_rows


def search_suspects(
    pool: RefreshPool, config: RunConfig, loaded: Loaded, statistics: ShardStatistics, spread: float, search: Search
) -> Suspects:
    """Finds the nearest neighbours of all examples that may be mined, and judges by them.

    It is one more mining pass, with one pair an anchor, no band and ``num_neighbours`` negatives.

    Args:
        pool: Actors.
        config: The run; ``mining.audit.num_neighbours`` is at least 1.
        loaded: What is searched; where candidates are sampled, neighbours are of the sample.
        statistics: Which examples there are.
        spread: Of the embeddings; see ``AuditReport``.
        search: The pass, with whose indexes mining goes on.
    """
    audit, size, groups = config.mining.audit, config.cluster.anchors_per_block, loaded.groups
    blocks = [statistics.ids_N[start : start + size] for start in range(0, len(statistics.ids_N), size)]
    asked = (loaded.shared_groups, audit, num_own(groups, audit.closer_than_share), config.seed)
    questions = (Question(ask_for_neighbours, (anchors, *asked), groups.mates(anchors)) for anchors in blocks)
    surroundings, twins, twin_distance = [], [], audit.near_duplicate_share * spread
    with stage("audit", len(statistics.ids_N), "examples") as done:
        search = replace(search, num_negatives=audit.num_neighbours)
        for number, block in run_search(pool, config.cluster, loaded, search, questions):
            anchors = blocks[number]
            surroundings.append(look_around(anchors, block.nearest, block.pairs, groups, audit.closer_than_share))
            twins.append(find_twins(anchors, block.nearest, twin_distance))
            done(len(anchors))
    return find_suspects(join(surroundings), twins, twin_distance, audit.min_label_noise)


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
    mislabelled = suspects.mislabelled
    counts = {"label_noise_suspect": len(mislabelled.ids_R)}
    # What was excluded is listed to the last, as trainers go by the list.
    listed = slice(None if excluded else config.max_rows_per_reason)
    tables = [
        quarantine_rows(
            "label_noise_suspect",
            mislabelled.ids_R[listed],
            excluded=excluded,
            score_R=mislabelled.score_R[listed],
            suggested_R=[label_names[code] for code in mislabelled.suggested_R[listed]],
        )
    ]
    for reason, found in pairs.items():
        counts[reason] = len(found.anchor_R)
        tables.append(
            quarantine_rows(
                reason,
                found.anchor_R[listed],
                excluded=excluded,
                other_R=found.other_R[listed],
                distance_R=found.distance_R[listed],
                # Of the others the distance says it all.
                score_R=found.score_R[listed] if reason == "false_negative_suspect" else None,
            )
        )
    return tables, counts


def hub_rows(hubs: Hubs, config: AuditConfig) -> pa.Table:
    """The quarantine's rows of hubs; the score is the number of triplets."""
    listed = slice(config.max_rows_per_reason)
    return quarantine_rows(
        "hub",
        hubs.ids_H[listed],
        excluded=config.quarantine == "exclude",
        score_R=hubs.counts_H[listed].astype(np.float32),
    )
