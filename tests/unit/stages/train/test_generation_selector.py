from pathlib import Path

from pipeline.config import BandConfig, CurriculumStage, MiningConfig, RunConfig, TrainingConfig
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.stages.train.generation_selector import GenerationSelector
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import glyph_corpus
from tests.unit.encoders import samples
from tests.unit.triplets.samples import publish, triplets


def checkpoint(workspace: Workspace, step: int) -> CheckpointManifest:
    manifest = samples.checkpoint(workspace, step)
    return manifest.model_copy(update={"weights_digest": "w" * 64})  # as in the samples of generations


def test_a_trainer_takes_only_generations_of_its_corpus_and_config(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path / "w"), "main")
    corpus = glyph_corpus(workspace, 5)
    first, second = checkpoint(workspace, 0), checkpoint(workspace, 10)
    publish(tmp_path / "w", [triplets(3)], 10, number=0, step=0)  # of another corpus
    config = RunConfig()
    assert GenerationSelector(workspace, corpus, config).find(first) is None
    corpus.manifest = corpus.manifest.model_copy(update={"fingerprint": "f" * 64})
    publish(tmp_path / "w", [triplets(3)], 10, number=1, step=0)
    publish(tmp_path / "w", [triplets(3)], 10, number=2, step=10)

    def numbers(config: RunConfig) -> list[int | None]:
        found = [GenerationSelector(workspace, corpus, config).find(each) for each in (first, second)]
        return [None if manifest is None else manifest.number for manifest in found]

    assert numbers(config) == [0, 2], "alternate: the first one of each checkpoint, whatever comes later"
    overlap = config.model_copy(update={"training": TrainingConfig(mode="overlap")})
    assert numbers(overlap) == [2, 2], "overlap: the newest"
    other_mining = config.model_copy(update={"mining": MiningConfig(negatives_per_pair=2)})
    assert numbers(other_mining) == [None, None]
    assert numbers(config.model_copy(update={"seed": 1})) == [None, None]
    hard_later = TrainingConfig(curriculum=(CurriculumStage(from_step=10, band=BandConfig(mode="hard")),))
    assert numbers(config.model_copy(update={"training": hard_later})) == [0, None], "mined as its step's stage says"
