from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CorruptDataError
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.summary.statistics import (
    BIN_WIDTH,
    MAX_COUNTED_PER_ANCHOR,
    GenerationStatistics,
    Histogram,
    collect_statistics,
)
from pipeline.mining.triplets import Triplets
from pipeline.triplets.schema import TRIPLETS, count_kinds, to_arrow
from tests.support.refusals import refusal
from tests.unit.inspection.mined_samples import Columns, all_triplets, mined, tampered
from tests.unit.inspection.report_samples import prepared, publish_generation

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def by_number(groups: "pd.Series[int]") -> list[int]:
    """At index n, how many have n."""
    counts = np.bincount(groups.to_numpy(), minlength=MAX_COUNTED_PER_ANCHOR + 1)
    return counts.tolist()  # type: ignore[no-any-return]


def assert_quantiles(histogram: Histogram, values: "pd.Series[float]") -> None:
    for q in QUANTILES:
        assert histogram.quantile(q) == pytest.approx(np.quantile(values, q, method="inverted_cdf"), abs=1e-4)


@pytest.mark.parametrize("rows_per_shard", [1, 7, 32, 1000])
@pytest.mark.parametrize("policy", ["hard", "semi_hard"])
def test_statistics_are_what_pandas_counts_however_anchors_lie_in_shards(
    tmp_path: Path, rows_per_shard: int, policy: str
) -> None:
    generation = mined(str(tmp_path / "w"), tmp_path, band={"mode": policy}, rows_per_shard=rows_per_shard)
    found, table, corpus = collect_statistics(generation), all_triplets(generation), generation.corpus
    assert (found.num_triplets, found.num_shards) == (len(table), -(-len(table) // rows_per_shard))
    assert found.num_bytes == sum(part.num_bytes for part in generation.manifest.parts_of("triplets"))
    assert found.kinds == count_kinds(table.d_ap.to_numpy(), table.d_an.to_numpy(), 0.2)
    by_anchor = table.groupby("anchor")
    assert found.triplets_per_anchor.tolist() == by_number(by_anchor.size())
    assert found.positives_per_anchor.tolist() == by_number(by_anchor.positive.nunique())
    assert (found.num_anchors, found.num_pairs) == (len(by_anchor), by_anchor.positive.nunique().sum())
    assert found.num_labels == len(set(corpus.labels[table.anchor]))
    assert found.num_examples_used == len({*table.anchor, *table.positive, *table.negative})
    expected = np.bincount(table.negative, minlength=corpus.num_examples)
    assert found.negative_counts_N.tolist() == expected.tolist()
    assert_quantiles(found.d_ap, table.d_ap)
    assert_quantiles(found.d_an, table.d_an)
    assert_quantiles(found.margin, table.d_an - table.d_ap)


def test_statistics_of_no_triplets_count_nothing(tmp_path: Path) -> None:
    found = collect_statistics(publish_generation(prepared(tmp_path), 0, TRIPLETS.empty_table()))
    assert (found.num_triplets, found.num_shards, found.num_anchors, found.num_pairs) == (0, 1, 0, 0)
    assert found.kinds == {"hard": 0, "semi_hard": 0, "easy": 0}
    assert np.isnan(found.d_ap.quantile(0.5)) and found.hubs(3) == []


def listed(tmp_path: Path, anchors: list[int], positives: list[int], rows_per_shard: int) -> GenerationStatistics:
    """The statistics of triplets that were not mined."""
    distances = np.full(len(anchors), 0.5, dtype=np.float32)
    negatives = np.array([4] * 3 + [9] * 3 + [6] * 2 + [0] * (len(anchors) - 8), dtype=np.int64)
    table = to_arrow(Triplets(np.array(anchors), np.array(positives), negatives, distances, distances))
    return collect_statistics(publish_generation(prepared(tmp_path), 0, table, rows_per_shard=rows_per_shard))


@pytest.mark.parametrize("rows_per_shard", [1, 2, 5, 100])
def test_a_positive_counts_once_where_an_anchor_returns_to_it(tmp_path: Path, rows_per_shard: int) -> None:
    found = listed(tmp_path, [0] * 6 + [8, 8, 8], [1, 2, 1, 3, 2, 1, 9, 10, 9], rows_per_shard)
    assert (found.num_anchors, found.num_pairs) == (2, 5)
    assert found.positives_per_anchor[:5].tolist() == [0, 0, 1, 1, 0]
    assert found.triplets_per_anchor[:8].tolist() == [0, 0, 0, 1, 0, 0, 1, 0]


def test_anchors_with_more_triplets_than_are_told_apart_are_counted_together(tmp_path: Path) -> None:
    num = MAX_COUNTED_PER_ANCHOR + 476
    found = listed(tmp_path, [0] * num + [8], [1] * num + [9], 400)
    assert found.triplets_per_anchor[[1, MAX_COUNTED_PER_ANCHOR]].tolist() == [1, 1] and found.num_anchors == 2


def test_hubs_come_most_frequent_first_and_ties_by_id(tmp_path: Path) -> None:
    found = listed(tmp_path, [0] * 9, [1] * 9, 4)
    assert found.hubs(3) == [(4, 3), (9, 3), (6, 2)]
    assert found.hubs(100) == [(4, 3), (9, 3), (6, 2), (0, 1)]


@pytest.mark.parametrize(
    ("column", "value"), [("negative", 48), ("anchor", -1), ("d_an", np.nan), ("d_ap", np.inf), ("anchor", 47)]
)
def test_rows_that_are_no_triplets_are_refused_by_shard(sound: OpenGeneration, column: str, value: float) -> None:
    def spoil(rows: Columns) -> None:
        rows[column][2] = value

    assert refusal(lambda: collect_statistics(tampered(sound, spoil, shard=1)), CorruptDataError) == (
        "shard 1 of generation 0 holds ids outside the corpus, distances that are no numbers, or anchors out of order: "
        "jobs.triplets verify says which"
    )


@given(st.lists(st.floats(0.0, 4.0, width=32), min_size=1), st.floats(0.0, 1.0))
def test_a_quantile_is_exact_to_the_width_of_a_bin(values: list[float], q: float) -> None:
    histogram = Histogram.empty(0.0, 4.0)
    histogram.add(np.array(values, dtype=np.float32))
    expected = sorted(values)[max(int(np.ceil(q * len(values))) - 1, 0)]
    assert abs(histogram.quantile(q) - expected) <= BIN_WIDTH


def test_values_outside_are_counted_at_the_ends() -> None:
    histogram = Histogram.empty(0.0, 4.0)
    histogram.add(np.array([-0.5, 0.0, 4.0, 4.5, 1e30], dtype=np.float32))
    assert (histogram.counts[0], histogram.counts[-1], histogram.counts.sum()) == (2, 3, 5)
