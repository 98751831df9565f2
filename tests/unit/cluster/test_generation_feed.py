from pathlib import Path

from pipeline.cluster.generation_feed import segment_at
from pipeline.config import TrainingConfig
from tests.unit.triplets.samples import publish, triplets


def walk(tmp_path: Path, num_shards: int, config: TrainingConfig, round_start: int) -> list[tuple[int, int, int]]:
    manifest = publish(tmp_path, [triplets(num_shards)], rows_per_shard=1).manifest
    end = min(round_start + config.steps_per_round, config.num_steps)
    step, segments = round_start, []
    while step < end:
        segment = segment_at(step, manifest, config, seed=1, round_start=round_start)
        segments.append((step, segment.end, segment.shard))
        step = segment.end
    return segments


def test_a_round_walks_once_through_all_shards_and_ends_with_the_round(tmp_path: Path) -> None:
    config = TrainingConfig(num_steps=95, steps_per_round=20)
    segments = walk(tmp_path, 5, config, round_start=20)
    assert sorted(shard for _, _, shard in segments) == [0, 1, 2, 3, 4]
    assert segments[-1][1] == 40 and all(end - start == 4 for start, end, _ in segments)


def test_the_last_round_may_be_short_and_shards_more_than_steps(tmp_path: Path) -> None:
    config = TrainingConfig(num_steps=95, steps_per_round=20)
    assert walk(tmp_path / "a", 3, config, round_start=80)[-1][1] == 95
    assert len(walk(tmp_path / "b", 40, config, round_start=0)) == 20


def test_a_resumed_step_finds_its_own_segment(tmp_path: Path) -> None:
    config = TrainingConfig(num_steps=100, steps_per_round=20)
    manifest = publish(tmp_path, [triplets(4)], rows_per_shard=1).manifest
    for step in range(40, 60):
        segment = segment_at(step, manifest, config, seed=1, round_start=40)
        again = segment_at(segment.end - 1, manifest, config, seed=1, round_start=40)
        assert segment == again and step < segment.end
