from pathlib import Path

from torch import nn

from pipeline.cluster.generation_feed import GenerationChooser, segment_at
from pipeline.config import CorpusConfig, GlyphsConfig, MiningConfig, RunConfig, SourceConfig, TrainingConfig
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, save_checkpoint
from pipeline.storage.workspace import Workspace
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


def checkpoint(workspace: Workspace, step: int) -> CheckpointManifest:
    config = RunConfig()
    manifest, _ = save_checkpoint(
        checkpoints(workspace),
        step=step,
        encoder_module=nn.Linear(1, 1),
        encoder_config=config.encoder,
        transform_config=config.transform,
        trainer_state={},
        corpus_fingerprint="f" * 64,
        generation=None,
        metrics={},
        seed=0,
        config_digest="c" * 64,
        parent=None,
    )
    return manifest.model_copy(update={"weights_digest": "w" * 64})  # as in the samples


def test_a_trainer_takes_only_generations_of_its_corpus_and_config(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path / "w"), "main")
    source = SourceConfig(glyphs=GlyphsConfig(max_labels=5, image_size=16))
    prepare(CorpusConfig(source=source, test_fraction=0), workspace, 0, "c" * 64)
    corpus = Corpus.open(workspace)
    first, second = checkpoint(workspace, 0), checkpoint(workspace, 10)
    publish(tmp_path / "w", [triplets(3)], 10, number=0, step=0)  # of another corpus
    config = RunConfig()
    assert GenerationChooser(workspace, corpus, config).look(first) is None
    corpus.manifest = corpus.manifest.model_copy(update={"fingerprint": "f" * 64})
    publish(tmp_path / "w", [triplets(3)], 10, number=1, step=0)
    publish(tmp_path / "w", [triplets(3)], 10, number=2, step=10)

    def numbers(config: RunConfig) -> list[int | None]:
        found = [GenerationChooser(workspace, corpus, config).look(each) for each in (first, second)]
        return [None if manifest is None else manifest.number for manifest in found]

    assert numbers(config) == [0, 2], "alternate: the first one of each checkpoint, whatever comes later"
    overlap = config.model_copy(update={"training": TrainingConfig(mode="overlap")})
    assert numbers(overlap) == [2, 2], "overlap: the newest"
    other_mining = config.model_copy(update={"mining": MiningConfig(negatives_per_pair=2)})
    assert numbers(other_mining) == [None, None]
    assert numbers(config.model_copy(update={"seed": 1})) == [None, None]
