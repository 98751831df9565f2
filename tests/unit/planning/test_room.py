import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from pipeline.corpus.schema import LABELS_SCHEMA, from_parquet, to_parquet
from pipeline.mining.audit.neighbours import NeighbourStatistics, concat_blocks, neighbour_statistics
from pipeline.mining.positives import Pairs
from pipeline.mining.shards import LabelGroups
from pipeline.mining.topk import Nearest
from pipeline.planning import room, stages
from pipeline.triplets import neighbours
from pipeline.triplets.neighbours import NeighbourTally

NUM = 200_000


def held_bytes(make: object) -> tuple[float, float]:
    """Bytes an example that a call leaves in memory, and takes at its peak."""
    tracemalloc.start()
    made = make()  # type: ignore[operator]
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made is not None
    return held / NUM, peak / NUM


def labels() -> np.ndarray:
    return np.repeat(np.arange(NUM // 10), 10).astype(np.int32)


def test_who_shares_a_label_takes_the_memory_that_is_planned_for() -> None:
    ids_N, labels_N = np.arange(NUM), labels()
    held, _ = held_bytes(lambda: LabelGroups(ids_N, labels_N))
    assert held == pytest.approx(room._GROUP_BYTES, rel=0.1)


def test_the_neighbour_statistics_of_all_examples_take_the_memory_that_is_planned_for() -> None:
    ids_N, groups = np.arange(NUM), LabelGroups(np.arange(NUM), labels())
    nearest = Nearest(np.ones((NUM, 2), dtype=np.float32), np.zeros((NUM, 2), dtype=np.int64))
    blocks: list[NeighbourStatistics] = []

    def judge() -> NeighbourStatistics:
        for start in range(0, NUM, 10_000):
            rows = slice(start, start + 10_000)
            some = nearest.take(rows)
            own = Pairs(ids_N[rows], ids_N[rows], np.zeros(10_000))
            blocks.append(neighbour_statistics(ids_N[rows].copy(), some, own, groups, 1.0))
        return concat_blocks(blocks)

    _, peak = held_bytes(judge)
    assert peak == pytest.approx(room._NEIGHBOUR_BYTES, rel=0.25)


def test_the_labels_that_triplets_join_take_no_more_than_is_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_FEWEST_PENDING", NUM // 50)
    num_labels, rng = NUM // 10, np.random.default_rng(0)
    names, tally = [str(label) for label in range(num_labels)], NeighbourTally(num_labels)
    pairs = rng.permutation(NUM)  # each label joins ten others
    NeighbourTally(1).table(["a"], per_label=1)  # imports what it needs

    def count() -> object:
        for pairs_T in np.array_split(pairs, 100):
            label_T, place_T = (one.astype(np.int32) for one in np.divmod(pairs_T, 10))
            tally.add(label_T, (label_T + place_T + 1) % num_labels, np.zeros(len(pairs_T), dtype=np.float32))
        return tally.table(names, per_label=10)

    _, peak = held_bytes(count)
    assert peak == pytest.approx(room._LABEL_PAIR_BYTES, rel=0.15)
    assert len(tally.table(names, per_label=10)) == NUM


def test_labels_are_planned_to_be_summed_up_as_they_are() -> None:
    planned = (stages._FEWEST_PENDING, stages._PENDING_SHARE)
    assert planned == (neighbours._FEWEST_PENDING, neighbours._PENDING_SHARE)


def test_opening_a_corpus_takes_no_more_than_is_planned_for() -> None:
    codes = labels()
    names = pa.array([f"label {code}" for code in range(NUM // 10)])
    columns = [np.arange(NUM), pa.DictionaryArray.from_arrays(codes, names)]
    data = to_parquet(pa.Table.from_arrays(columns, schema=LABELS_SCHEMA))
    before, pool = pa.total_allocated_bytes(), pa.default_memory_pool()

    def read() -> object:
        table = from_parquet(data)
        column = table.column("label").combine_chunks()
        read.arrow = pa.total_allocated_bytes() - before  # type: ignore[attr-defined]
        taken = np.arange(NUM // 10, dtype=np.int32)[np.asarray(column.indices)]
        return table, taken, np.zeros(NUM // 10, dtype=bool)[taken]

    _, peak = held_bytes(read)
    arrow = read.arrow / NUM  # type: ignore[attr-defined]
    assert pool is not None and 0.5 * room._OPENING_BYTES < peak + arrow < 1.5 * room._OPENING_BYTES
