"""Times what the driver does with a refresh's answers, on those of a stretch."""

import time
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import LABELS_SCHEMA, from_parquet, to_parquet
from pipeline.mining.audit.neighbours import neighbour_statistics
from pipeline.mining.audit.suspects import find_twins
from pipeline.mining.shards import LabelGroups, Shard
from pipeline.mining.topk import Nearest
from pipeline.mining.triplets import to_triplets
from pipeline.planning.measure.search_rates import ROUNDS, Searched, timed
from pipeline.planning.rates import DriverRates
from pipeline.stages.job import Job
from pipeline.stages.mine.collector import TripletCollector
from pipeline.triplets.neighbours import NeighbourTally
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import to_arrow
from pipeline.triplets.writer import TRIPLET_ENCODINGS, serialise

_ROWS = 1 << 20  # of what grows with the corpus alone, and is measured on rows made up
_TRIPLETS = 1 << 18


def measure_driver(job: Job, shard: Shard, searched: Searched, s_per_task: float) -> dict[str, Any]:
    """Measures the driver's work with what an actor searched, in a workspace where triplets may be written.

    Returns:
        Fields of ``Rates``: those of the driver, of publishing, and of triplets.
    """
    config = job.config
    collect_s, publish_s, facts = _measure_collecting(job, shard, searched)
    open_s, group_s = _measure_tables(job.corpus)
    look_s, join_s = _measure_merging(searched.neighbours if config.mining.audit.num_neighbours else searched.nearest)
    driver = DriverRates(
        s_per_task=s_per_task,
        open_s_per_example=open_s,
        group_s_per_example=group_s,
        judge_s_per_example=_measure_judging(config, shard, searched),
        look_s_per_pair=look_s,
        join_s_per_value=join_s,
        harvest_s_per_triplet=collect_s,
        tally_s_per_label_pair=_measure_tally(),
    )
    return {"driver": driver, "publish_s": publish_s} | facts


def _measure_collecting(job: Job, shard: Shard, searched: Searched) -> tuple[float, float, dict[str, float]]:
    """Seconds a triplet, seconds of publishing, and what triplets are like."""
    corpus, store = job.corpus, job.workspace.store
    begin_s, transaction = timed(lambda: generations(job.workspace).begin(0))
    triplets, _ = to_triplets(searched.pairs, searched.nearest)
    table = to_arrow(triplets)
    num = len(table)
    if not num:
        return 0.0, begin_s, {"bytes_per_triplet": 0.0, "label_pairs_per_triplet": 0.0}
    collector = TripletCollector(transaction, job.config.mining, corpus, {})

    def collect() -> None:
        for _ in range(max(1, _TRIPLETS // num)):
            collector.add(to_triplets(searched.pairs, searched.nearest)[0])
        collector.close()

    seconds, _ = timed(collect)
    code_of = corpus.labels.astype(np.int64)
    joined = code_of[triplets.anchor_T] * len(corpus.label_names) + code_of[triplets.negative_T]
    # The stretch's ids are shorter than the corpus's: a negative may be any of these.
    longer_bits = np.log2(corpus.num_examples) - np.log2(max(len(shard), 2))
    # Of one block: the same again and again would compress too well.
    stored = len(serialise(table, TRIPLET_ENCODINGS)) - len(serialise(table.slice(0, 0), TRIPLET_ENCODINGS))
    small = b" " * 1000
    publish_s, _ = timed(lambda: [store.create(f"publish-{number}", small) for number in range(4)])
    facts = {
        "bytes_per_triplet": stored / num + max(0.0, float(longer_bits)) / 8,
        "label_pairs_per_triplet": len(np.unique(joined)) / num,
    }
    return seconds / collector.num_triplets, publish_s, facts


def _measure_tables(corpus: Corpus) -> tuple[float, float]:
    """Seconds an example of opening a corpus, and of grouping examples by label."""
    num_labels = max(1, _ROWS * len(corpus.label_names) // corpus.num_examples)
    codes = (np.arange(_ROWS) * num_labels // _ROWS).astype(np.int32)
    names = pa.array([f"label {code}" for code in range(num_labels)])
    ids = np.arange(_ROWS, dtype=np.int64)
    table = pa.Table.from_arrays([ids, pa.DictionaryArray.from_arrays(codes, names)], schema=LABELS_SCHEMA)
    data, is_test = to_parquet(table), np.zeros(num_labels, dtype=bool)

    def read() -> object:
        column = from_parquet(data).column("label").combine_chunks()
        column.dictionary.to_pylist()
        labels = np.arange(num_labels, dtype=np.int32)[np.asarray(column.indices)]
        return is_test[labels]

    open_s, _ = timed(read, ROUNDS, time.process_time)  # Arrow reads with threads of its own
    group_s, _ = timed(lambda: LabelGroups(ids, codes), ROUNDS, time.thread_time)
    return open_s / _ROWS, group_s / _ROWS


def _measure_merging(nearest: Nearest) -> tuple[float, float]:
    """Seconds a pair where an answer has nothing new, and seconds a value where it has."""
    known, nothing = nearest.copy(), Nearest.empty(*nearest.id_PM.shape)
    look_s, _ = timed(lambda: known.merge(nothing), ROUNDS, time.thread_time)
    join_s, _ = timed(lambda: nothing.copy().merge(nearest), ROUNDS, time.thread_time)
    return look_s / len(nearest.id_PM), join_s / nearest.id_PM.size


def _measure_judging(config: RunConfig, shard: Shard, searched: Searched) -> float:
    audit = config.mining.audit
    if not audit.num_neighbours:
        return 0.0
    groups = LabelGroups(shard.ids_N, shard.labels_N)
    anchors = groups.anchors_A[: config.cluster.anchors_per_block]

    def judge() -> None:
        neighbour_statistics(anchors, searched.neighbours, searched.own, groups, audit.closer_than_share)
        find_twins(anchors, searched.neighbours, audit.near_duplicate_share)

    return timed(judge, ROUNDS, time.thread_time)[0] / len(anchors)


def _measure_tally() -> float:
    rng, tally = np.random.default_rng(0), NeighbourTally(_ROWS)
    labels = rng.integers(_ROWS, size=(2, _ROWS)).astype(np.int32)

    def sum_up() -> None:
        tally.add(labels[0], labels[1], np.zeros(_ROWS, dtype=np.float32))
        tally.table([], 0)

    return timed(sum_up, clock=time.thread_time)[0] / _ROWS
