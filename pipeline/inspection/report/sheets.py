"""Contact sheets: the triplets and the entries of the quarantine that a page shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.rows import TripletQuery, TripletRow, select_rows
from pipeline.inspection.query.sql import SqlSession
from pipeline.inspection.summary.statistics import GenerationStatistics

NUM_LABELS = 10
HARDEST_SHARE = 0.05
MAX_REASONS = 12
"""More than there are; bounds the page whatever the quarantine holds."""


@dataclass(frozen=True)
class Sheet:
    """Some triplets under a heading: a name for the filter, and a caption that says how they were chosen."""

    name: str
    title: str
    caption: str
    rows: Sequence[TripletRow]


@dataclass(frozen=True)
class QuarantineGroup:
    """Entries of a quarantine of one reason and treatment: how many, and the best founded as rows of QUARANTINE."""

    reason: str
    excluded: bool
    detail: str
    num_rows: int
    rows: Sequence[dict[str, Any]]


def triplet_sheets(generation: OpenGeneration, statistics: GenerationStatistics, num: int, seed: int) -> list[Sheet]:
    """The hardest triplets, a random sample, and the hardest of the labels that have most of the hard triplets.

    Args:
        generation: The generation.
        statistics: Of the generation.
        num: Triplets a sheet.
        seed: Of the sample.
    """
    per_label = -(-num // NUM_LABELS)
    with SqlSession.of(generation) as session:
        hardest = select_rows(generation, TripletQuery("hardest", limit=num), session)
        sampled = select_rows(generation, TripletQuery("random", seed=seed, limit=num), session)
        sheets = [
            Sheet("hardest", "The hardest", "smallest margin first", hardest),
            Sheet("random", "A random draw", f"seed {seed}", sampled),
        ]
        for label, count in hardest_labels(generation, statistics, NUM_LABELS):
            caption = f"has {count:,} of the generation's hardest {HARDEST_SHARE:.0%}"
            rows = select_rows(generation, TripletQuery("hardest", label=label, limit=per_label), session)
            sheets.append(Sheet("by label", label, caption, rows))
    return sheets


def hardest_labels(generation: OpenGeneration, statistics: GenerationStatistics, num: int) -> list[tuple[str, int]]:
    """The labels of anchors with most of the hardest triplets, whatever the band: (label, how many), most first."""
    margin = statistics.margin
    # The quantile lies within a bin; a bin's width beyond it is past the smallest margin even where all are equal.
    threshold = margin.quantile(HARDEST_SHARE) + (margin.high - margin.low) / len(margin.counts)
    counts_L = np.zeros(len(generation.corpus.label_names), dtype=np.int64)
    for shard in range(generation.reader.num_shards):
        table = generation.reader.shard(shard)
        is_hard_T = pc.less_equal(pc.subtract(table["d_an"], table["d_ap"]), pa.scalar(threshold, pa.float32()))
        anchors = table["anchor"].filter(is_hard_T).to_numpy()
        counts_L += np.bincount(generation.corpus.labels[anchors], minlength=len(counts_L))
    first = np.argsort(-counts_L, kind="stable")[:num]
    return [(generation.corpus.label_names[code], int(counts_L[code])) for code in first if counts_L[code]]


def quarantine_groups(generation: OpenGeneration, num: int) -> list[QuarantineGroup]:
    """The quarantine by reason and treatment, most entries first, with the first ``num`` entries of each."""
    table = generation.reader.quarantine()
    groups = table.group_by(["reason", "excluded"]).aggregate([("example_id", "count")]).to_pylist()
    groups.sort(key=lambda group: (-group["example_id_count"], group["reason"], group["excluded"]))
    return [_quarantine_group(table, group, num) for group in groups[:MAX_REASONS]]


def example_ids(
    sheets: Sequence[Sheet], groups: Sequence[QuarantineGroup], hubs: Sequence[tuple[int, int]]
) -> Iterator[int]:
    """The examples that are shown, as often as they are."""
    for sheet in sheets:
        for triplet in sheet.rows:
            yield from (triplet.anchor, triplet.positive, triplet.negative)
    for group in groups:
        for entry in group.rows:
            yield from (entry[column] for column in ("example_id", "other_id") if entry[column] is not None)
    for example_id, _ in hubs:
        yield example_id


def _quarantine_group(table: pa.Table, group: dict[str, Any], num: int) -> QuarantineGroup:
    reason, excluded = group["reason"], group["excluded"]
    same = pc.and_(pc.equal(table["reason"], reason), pc.equal(table["excluded"], excluded))
    rows = table.filter(same).slice(0, num).to_pylist()
    return QuarantineGroup(reason, excluded, rows[0]["detail"], group["example_id_count"], rows)
