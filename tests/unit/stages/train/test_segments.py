from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.config import RunConfig, TrainingConfig
from pipeline.stages.train.generation_selector import GenerationSelector
from pipeline.stages.train.segments import SegmentSchedule, shard_at
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import glyph_corpus
from tests.unit.stages.train.test_generation_selector import checkpoint
from tests.unit.triplets.samples import publish, triplets

T = TypeVar("T")


def walk(num_shards: int, num_steps: int, first_step: int, end: int) -> list[tuple[int, int, int]]:
    step, segments = first_step, []
    while step < end:
        shard, start, segment_end = shard_at(step, first_step, num_steps, num_shards, seed=1, number=3)
        assert start == step
        segments.append((shard, start, segment_end))
        step = segment_end
    return segments


def test_a_round_walks_once_through_all_shards_and_ends_with_the_round() -> None:
    segments = walk(5, 20, first_step=20, end=40)
    assert sorted(shard for shard, _, _ in segments) == [0, 1, 2, 3, 4]
    assert segments[-1][2] == 40 and all(end - start == 4 for _, start, end in segments)


def test_a_generation_in_use_for_longer_is_walked_through_again() -> None:
    first, again = (walk(3, 9, 5, 23)[begin : begin + 3] for begin in (0, 3))
    assert [shard for shard, _, _ in first] == [shard for shard, _, _ in again] and again[-1][2] == 23


def test_more_shards_than_steps_give_each_step_one() -> None:
    segments = walk(40, 20, 0, 20)
    assert len(segments) == 20 and len({shard for shard, _, _ in segments}) == 20


def test_a_resumed_step_finds_its_own_segment() -> None:
    for step in range(40, 60):
        shard, start, end = shard_at(step, 40, 20, 4, seed=1, number=0)
        assert start <= step < end
        assert all(shard_at(other, 40, 20, 4, seed=1, number=0) == (shard, start, end) for other in range(start, end))


def test_the_order_of_shards_is_drawn_for_each_generation() -> None:
    orders = {
        tuple(shard_at(step, 0, 8, 8, seed, number)[0] for step in range(8)) for seed in (0, 1) for number in (0, 1)
    }
    assert len(orders) == 4 and all(np.array_equal(np.sort(order), np.arange(8)) for order in orders)


def alone(value: T | None) -> T | None:
    return value


def fail(words: str) -> None:
    raise AssertionError(f"waited: {words}")


def test_overlap_trains_on_random_labels_until_the_first_generation_stands(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path), "main")
    corpus = glyph_corpus(workspace, 5)
    corpus.manifest = corpus.manifest.model_copy(update={"fingerprint": "f" * 64})  # as in the samples
    config = RunConfig(training=TrainingConfig(mode="overlap", num_steps=100, steps_per_round=20))
    selector = GenerationSelector(workspace, corpus, config)
    first = checkpoint(workspace, 0)
    schedule, late = (SegmentSchedule(selector, config, alone, watches=True) for _ in range(2))
    schedule.begin_round(config, first)
    segment = schedule.segment(0, fail)
    assert (segment.generation, segment.shard, segment.waited_s) == (None, None, 0.0)
    publish(tmp_path, [triplets(3)], 10, number=0, step=0)
    late.begin_round(config, first)
    assert late.has_newer(10) and not late.has_newer(11), "asked now and then, not at each step"
