"""Contact sheets: which triplets and which entries of the quarantine a page shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspection.inspected import Inspected
from pipeline.inspection.query.rows import TripletRow, drawn, hardest
from pipeline.inspection.query.sql import Session
from pipeline.inspection.summary.survey import Survey

NUM_LABELS = 10
HARDEST_SHARE = 0.05
MAX_REASONS = 12
"""More than there are; bounds the page whatever the quarantine says."""


@dataclass(frozen=True)
class Sheet:
    """Some triplets under a heading.

    Attributes:
        name: For the filter.
        title: Heading.
        words: How they were chosen.
        rows: The triplets.
    """

    name: str
    title: str
    words: str
    rows: Sequence[TripletRow]


@dataclass(frozen=True)
class Quarantined:
    """The entries of a quarantine that have one reason and one treatment.

    Attributes:
        reason: Why they are there.
        excluded: Whether mining did without them.
        detail: What was seen, and done.
        num_rows: How many there are.
        rows: The best founded of them, in the columns of QUARANTINE.
    """

    reason: str
    excluded: bool
    detail: str
    num_rows: int
    rows: Sequence[dict[str, Any]]


def triplet_sheets(inspected: Inspected, survey: Survey, num: int, seed: int) -> list[Sheet]:
    """The hardest triplets, a random draw, and the hardest of the labels that have most of the hard ones.

    Args:
        inspected: The generation.
        survey: Of it.
        num: Triplets a sheet.
        seed: Of the draw.
    """
    per_label = -(-num // NUM_LABELS)
    with Session.of(inspected) as session:
        sheets = [
            Sheet("hardest", "The hardest", "smallest margin first", hardest(inspected, num, session=session)),
            Sheet("random", "A random draw", f"seed {seed}", drawn(inspected, num, seed, session=session)),
        ]
        for label, count in hardest_labels(inspected, survey, NUM_LABELS):
            words = f"has {count:,} of the generation's hardest {HARDEST_SHARE:.0%}"
            sheets.append(Sheet("by label", label, words, hardest(inspected, per_label, label, session)))
    return sheets


def hardest_labels(inspected: Inspected, survey: Survey, num: int) -> list[tuple[str, int]]:
    """The labels of anchors with most of the hardest triplets, whatever the band: (label, how many), most first."""
    # The quantile lies within a bin; its end is past the smallest margin even where all are equal.
    threshold = survey.margin.quantile(HARDEST_SHARE) + _bin_width(survey)
    counts_L = np.zeros(len(inspected.corpus.label_names), dtype=np.int64)
    for shard in range(inspected.generation.num_shards):
        table = inspected.generation.shard(shard)
        is_hard_T = pc.less_equal(pc.subtract(table["d_an"], table["d_ap"]), pa.scalar(threshold, pa.float32()))
        anchors = table["anchor"].filter(is_hard_T).to_numpy()
        counts_L += np.bincount(inspected.corpus.labels[anchors], minlength=len(counts_L))
    first = np.argsort(-counts_L, kind="stable")[:num]
    return [(inspected.corpus.label_names[code], int(counts_L[code])) for code in first if counts_L[code]]


def quarantined(inspected: Inspected, num: int) -> list[Quarantined]:
    """The quarantine by reason and treatment, most entries first, with the first ``num`` entries of each."""
    table = inspected.generation.quarantine()
    groups = table.group_by(["reason", "excluded"]).aggregate([("example_id", "count")]).to_pylist()
    groups.sort(key=lambda group: (-group["example_id_count"], group["reason"], group["excluded"]))
    return [_quarantined(table, group, num) for group in groups[:MAX_REASONS]]


def example_ids(
    sheets: Sequence[Sheet], groups: Sequence[Quarantined], hubs: Sequence[tuple[int, int]]
) -> Iterator[int]:
    """The examples that are shown, as often as they are."""
    for sheet in sheets:
        for triplet in sheet.rows:
            yield from (triplet.anchor, triplet.positive, triplet.negative)
    for group in groups:
        for entry in group.rows:
            yield from (one for one in (entry["example_id"], entry["other_id"]) if one is not None)
    for example_id, _ in hubs:
        yield example_id


def _quarantined(table: pa.Table, group: dict[str, Any], num: int) -> Quarantined:
    reason, excluded = group["reason"], group["excluded"]
    same = pc.and_(pc.equal(table["reason"], reason), pc.equal(table["excluded"], excluded))
    rows = table.filter(same).slice(0, num).to_pylist()
    return Quarantined(reason, excluded, rows[0]["detail"], group["example_id_count"], rows)


def _bin_width(survey: Survey) -> float:
    margin = survey.margin
    return (margin.high - margin.low) / len(margin.counts)
