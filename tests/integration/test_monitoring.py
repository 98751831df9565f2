"""One loop with everything that can be observed, and its metrics scraped as Prometheus would."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prometheus_client.parser import text_string_to_metric_families
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.encoders.checkpoints import checkpoints
from pipeline.runtime.metrics import METRICS
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.support.jobs import ROOT, TINY, command, environment, succeed
from tests.support.monitoring import labels_that_are_missing, metric_names, queries

ON_GPUS = {f"ray_{name}" for name in METRICS_GAUGES if name.startswith(("node_gpus", "node_gram"))}
"""What Ray exports of a node with GPUs only."""


@dataclass
class Observed:
    """A loop that has ended, and what was seen of it meanwhile.

    Attributes:
        workspace: Where it ran.
        words: What it said on stderr.
        labels: Of every series, by metric.
        highest: The highest value of ours, by metric and labels.
        is_at_work: Whether the job was seen at work, scrape by scrape.
    """

    workspace: Path
    words: str = ""
    labels: dict[str, dict[str, Mapping[str, str]]] = field(default_factory=lambda: defaultdict(dict))
    highest: dict[str, float] = field(default_factory=dict)
    is_at_work: list[bool] = field(default_factory=list)

    def see(self, text: str) -> None:
        """Takes in one scrape."""
        self.is_at_work.append('role="job"' in text)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.labels[sample.name][str(sorted(sample.labels.items()))] = sample.labels
                if sample.name.startswith("ray_motherlode_"):
                    further = [sample.labels[name] for name in ("stage", "reason", "role") if name in sample.labels]
                    key = " ".join([sample.name.removeprefix("ray_motherlode_"), *further])
                    self.highest[key] = max(self.highest.get(key, sample.value), sample.value)


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """Runs the loop, and scrapes its endpoint twice a second."""
    seen = Observed(tmp_path_factory.mktemp("observed"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    workspace = seen.workspace / "workspace"
    succeed("prepare", *TINY, "--workspace", workspace)
    watched = (
        "--cluster.metrics_port", str(port),
        "--observe.log_format", "json",
        "--observe.tensorboard", seen.workspace / "tensorboard",
        "--observe.mlflow", f"file:{seen.workspace / 'mlflow'}",
    )  # fmt: skip
    words = seen.workspace / "words"
    with words.open("wb") as errors:
        loop = subprocess.Popen(
            command("loop", *TINY, "--workspace", workspace, *watched),
            cwd=ROOT,
            # Every second, the shortest that Ray knows: the job does not last for many of the usual ten.
            env=environment(RAY_metrics_report_interval_ms="1000", MLFLOW_ALLOW_FILE_STORE="true"),
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            deadline = time.monotonic() + 280
            while loop.poll() is None:
                assert time.monotonic() < deadline, words.read_text()
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                        seen.see(answer.read().decode())
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    pass  # Ray starts, or ends
                time.sleep(0.5)
        finally:
            loop.kill()
            loop.wait(timeout=30)
    seen.words = words.read_text()
    assert loop.returncode == 0, seen.words
    return seen


@pytest.fixture
def run(observed: Observed) -> Workspace:
    return Workspace.open(str(observed.workspace / "workspace"), "main")


def test_a_running_job_exports_every_metric(observed: Observed) -> None:
    assert {metric.exported_name for metric in METRICS} - observed.labels.keys() == set()
    for metric in METRICS:
        for labels in observed.labels[metric.exported_name].values():
            assert labels["run"] == "main" and {*metric.labels} <= {*labels}


@pytest.mark.parametrize("where", queries())
def test_every_query_finds_what_it_asks_for_in_what_the_job_exports(where: str, observed: Observed) -> None:
    query = queries()[where]
    if metric_names(query) & ON_GPUS and not metric_names(query) & observed.labels.keys():
        assert metric_names(query) <= ON_GPUS
        return
    assert metric_names(query) - observed.labels.keys() == set()
    series = {name: list(found.values()) for name, found in observed.labels.items()}
    assert labels_that_are_missing(query, series) == []


def test_the_figures_are_those_of_the_run(observed: Observed, run: Workspace) -> None:
    highest, published = observed.highest, [generations(run).read(number) for number in (0, 1, 2)]
    assert highest["stage_units_total embed"] >= 3 * 714
    assert highest["pairs_scanned_total"] == sum(manifest.num_pairs for manifest in published)
    assert highest["triplets_written_total"] == sum(manifest.num_triplets for manifest in published)
    assert highest["generations_published_total"] == 3 and highest["generations_refused_total"] == 0
    assert highest["images_trained_total"] == 6 * 24 and highest["trainer_starts_total"] == 1
    assert highest["step"] == highest["checkpoint_step"] == 6 and highest["staleness_steps"] == 2
    assert highest["generation"] == highest["generation_in_use"] == 2 and highest["generation_checkpoint_step"] == 4
    assert 0 < time.time() - highest["generation_published_timestamp_seconds"] < 86_400
    assert {"embed", "audit", "mine", "verify", "publish", "train"} <= {
        key.partition(" ")[2] for key, value in highest.items() if key.startswith("stage_seconds_total") and value > 0
    }
    assert 0 < highest["active_share"] <= 1 and 0 < highest["in_band_share"] <= 1
    assert highest["at_work job"] == highest["at_work trainer"] == 1


def test_a_gauge_that_was_set_once_stays_for_as_long_as_the_job(observed: Observed) -> None:
    since = observed.is_at_work[observed.is_at_work.index(True) :]
    assert len(since) > 10 and sum(since) > 0.3 * len(since), "Ray forgets it after two seconds here"


def test_tensorboard_and_mlflow_have_every_step_once_with_its_loss(observed: Observed, run: Workspace) -> None:
    events = EventAccumulator(str(observed.workspace / "tensorboard" / "main"))
    events.Reload()
    curves = {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}
    names = {"loss", "active_share", "learning_rate", "images_per_s", "generation_in_use", "staleness_steps"}
    assert curves.keys() == names | {"listed_active_share", "in_band_share"}
    assert all([step for step, _ in curves[name]] == [1, 2, 3, 4, 5, 6] for name in names)
    assert [value for _, value in curves["generation_in_use"]] == [0, 0, 1, 1, 2, 2]
    trained = [checkpoints(run).read(step) for step in (2, 4, 6)]
    means = [(curves["loss"][at][1] + curves["loss"][at + 1][1]) / 2 for at in (0, 2, 4)]
    assert means == pytest.approx([one.metrics["loss"] for one in trained])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = MlflowClient(f"file:{observed.workspace / 'mlflow'}")
        experiment = client.get_experiment_by_name("motherlode")
        assert experiment is not None
        (found,) = client.search_runs([experiment.experiment_id])
        for name, curve in curves.items():
            told = client.get_metric_history(found.info.run_id, name)
            assert [point.step for point in told] == [step for step, _ in curve]
            assert [point.value for point in told] == pytest.approx([value for _, value in curve])
    assert found.data.tags["motherlode.weights_digest"] == trained[-1].weights_digest
    assert found.data.params["training.num_steps"] == "6" and found.info.status == "FINISHED"


def test_every_line_on_stderr_is_one_json_object(observed: Observed) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in observed.words.splitlines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    assert all((line["job"], line["run"]) == ("loop", "main") for line in lines)
    embedded = [line for line in lines if line.get("stage") == "embed step 0"]
    assert (embedded[-1]["count"], embedded[-1]["total"], embedded[-1]["unit"]) == (714, 714, "examples")
    assert any("recall_at_1" in line["message"] for line in lines), "the table at the end too"
