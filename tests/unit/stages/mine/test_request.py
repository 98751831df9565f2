from pathlib import Path

from pipeline.config import MiningConfig, ObserveConfig, RunConfig
from pipeline.stages.job import Job
from pipeline.stages.mine.request import RefreshRequest
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import glyph_corpus
from tests.unit.encoders import samples


def test_whoever_watches_a_run_asks_for_the_same_generation(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path / "w"), "main")
    corpus, checkpoint, config = glyph_corpus(workspace, 5), samples.checkpoint(workspace, 0), RunConfig()
    watched = config.model_copy(
        update={
            "observe": ObserveConfig(log_format="json", tensorboard="/runs", mlflow="http://mlflow.example"),
            "cluster": config.cluster.model_copy(update={"metrics_port": 8080}),
        }
    )
    otherwise = config.model_copy(update={"mining": MiningConfig(negatives_per_pair=2)})
    keys = [RefreshRequest.resolve(Job(own, workspace, corpus), checkpoint).key for own in (config, watched, otherwise)]
    assert keys[0] == keys[1] != keys[2]
