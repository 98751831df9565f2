import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipeline.config import ClusterConfig, EncoderConfig, RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.registry import initial_encoder
from pipeline.errors import InputError
from pipeline.stages.embed.stage import key_of
from pipeline.stages.embed.worker import EncodeWorker
from pipeline.stages.evaluate.protocols import PROTOCOLS, EvaluationProtocol
from pipeline.stages.evaluate.stage import CheckpointRef, evaluate_checkpoints, print_results
from pipeline.stages.job import Job
from pipeline.storage.workspace import Workspace
from tests.support.jobs import ROOT, call
from tests.unit.corpus.samples import run_prepare
from tests.unit.encoders.samples import checkpoint
from tests.unit.inspection.report_samples import vector_corpus


def test_the_page_on_evaluation_lists_exactly_these_protocols() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "evaluation.md").read_text(), flags=re.MULTILINE)
    assert sorted(rows) == sorted(PROTOCOLS)


@dataclass(frozen=True)
class Norms:
    largest: float

    def metrics(self) -> dict[str, float]:
        return {"largest_norm": self.largest}

    def to_dict(self) -> dict[str, float]:
        return self.metrics() | {"num_examples": 12}


def test_a_new_entry_of_the_table_is_found_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe of CONTRIBUTING.md, on stored embeddings, which need no actor."""
    cluster = ClusterConfig(threads_per_actor=torch.get_num_threads(), cache_dir=str(tmp_path / "cache"))
    encoder = EncoderConfig(name="identity", embedding_dim=12)
    config = RunConfig(workspace=str(tmp_path / "w"), cluster=cluster, encoder=encoder)
    workspace = Workspace.open(config.workspace, "main")
    run_prepare(vector_corpus(tmp_path / "source").model_copy(update={"test_fraction": 0.3}), workspace)
    corpus = Corpus.open(workspace)
    weights = initial_encoder(encoder, config.transform, 0)
    stored = checkpoint(workspace, 0, weights, config, corpus_fingerprint=corpus.fingerprint)
    EncodeWorker(config, 0).embed_part("main", 0, key_of(config, corpus, stored), 0)
    fake = EvaluationProtocol(
        "the longest vector",
        lambda context: Norms(float((context.evaluation_set.vectors_ND**2).sum(axis=1).max())),
        lambda last, results: {"norms.png": repr([results[last.name].largest]).encode()},
    )
    for name in set(PROTOCOLS):
        monkeypatch.delitem(PROTOCOLS, name)
    monkeypatch.setitem(PROTOCOLS, "norms", fake)
    lacking = EvaluationProtocol("?", fake.evaluate, unavailable_reason=lambda *_: "the moon is not up")
    monkeypatch.setitem(PROTOCOLS, "moon", lacking)
    assert "norms: the longest vector" in " ".join(call("evaluate", "--help", stderr=io.StringIO())[1].split())
    job, refs = Job(config, workspace, corpus), [CheckpointRef("main", 0)]
    for name, words in (("moon", "the moon is not up"), ("sun", "choose all, or from norms, moon")):
        with pytest.raises(InputError, match=words):
            evaluate_checkpoints(job, refs, [name])
    results = evaluate_checkpoints(job, refs, ["all"])
    print_results(results)
    words = capsys.readouterr().err
    assert "left out: moon, since the moon is not up" in words and re.search(r"largest_norm\W+1\.0000", words)
    assert results.report()["evaluations"]["main untrained"]["protocols"] == {"norms": Norms(1.0).to_dict()}
    folder = workspace.evaluation_prefix(0)
    assert json.loads(workspace.store.get(f"{folder}/norms.json")).items() >= Norms(1.0).to_dict().items()
    assert "| largest_norm | 1.0000 |" in workspace.store.get(f"{folder}/report.md").decode()
    assert results.plot_uris == (workspace.uri_of(f"{folder}/norms.png"),)
    assert workspace.store.get(f"{folder}/norms.png") == b"[1.0]"
