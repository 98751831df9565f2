"""A scheduled refresh: `infra/submit.py` as cron calls it, under one submission id for each firing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.config import RunConfig
from pipeline.encoders.checkpoints import checkpoints, config_of, load_encoder
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.support.jobs import ROOT, TINY, succeed
from tests.support.token_cluster import WITH_COMPILED_SCAN, TokenCluster, ask
from tests.unit.encoders.samples import checkpoint

NOTHING, PUBLISHED = "nothing to do", "published in"


class Schedule:
    """A workspace whose untrained checkpoint was mined, and who refreshes it."""

    def __init__(self, cluster: TokenCluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.workspace = Workspace.open(str(folder), "main")
        succeed("prepare", *TINY, "--workspace", folder)
        succeed("mine", *TINY, "--workspace", folder)

    def fire(self, identity: str) -> "subprocess.Popen[str]":
        """What a line of a crontab starts."""
        command = [sys.executable, "-m", "jobs.mine", *TINY, f"--workspace={self.folder}"]
        return subprocess.Popen(
            [sys.executable, "infra/submit.py", "--id", identity, "--working-dir", ".", "--", *command],
            cwd=ROOT,
            env=self.cluster.environ | WITH_COMPILED_SCAN,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def train(self, step: int) -> None:
        """A new checkpoint appears."""
        dataset = checkpoints(self.workspace)
        start = dataset.read(0)
        config = config_of(start, RunConfig())
        encoder = load_encoder(dataset, start, config.encoder, config.transform, "cpu")
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))
        fingerprint = start.corpus_fingerprint
        checkpoint(self.workspace, step, encoder, config, corpus_fingerprint=fingerprint, parent=0)

    def mined(self) -> list[int]:
        """The checkpoint of each generation."""
        dataset = generations(self.workspace)
        return [dataset.read(number).checkpoint_step for number in dataset.numbers()]

    def jobs(self) -> list[str]:
        """Submission ids."""
        status, words = ask(self.cluster.address, "/api/jobs/", self.cluster.token)
        assert status == 200, words
        return sorted(job["submission_id"] for job in json.loads(words) if job["submission_id"].startswith("refresh-"))


@pytest.fixture(scope="module")
def schedule(cluster: TokenCluster, tmp_path_factory: pytest.TempPathFactory) -> Schedule:
    return Schedule(cluster, tmp_path_factory.mktemp("schedule") / "workspace")


def end_of(firing: "subprocess.Popen[str]") -> str:
    """All that it says, once it has ended as it should."""
    with firing:
        assert firing.stdout is not None
        words = firing.stdout.read()
    assert firing.returncode == 0, words
    return words


def test_three_firings_over_one_new_checkpoint_mine_one_generation(schedule: Schedule) -> None:
    assert schedule.mined() == [0]
    schedule.train(step=1)
    first = end_of(schedule.fire("refresh-1"))
    assert PUBLISHED in first and NOTHING not in first and schedule.mined() == [0, 1]
    second = end_of(schedule.fire("refresh-2"))
    assert NOTHING in second and PUBLISHED not in second and schedule.mined() == [0, 1]

    third = end_of(schedule.fire("refresh-1"))  # cron was told twice, or its machine started anew
    assert "refresh-1 has run before" in third and PUBLISHED not in third
    assert schedule.jobs() == ["refresh-1", "refresh-2"] and schedule.mined() == [0, 1]


def test_firings_at_once_mine_one_generation_and_one_id_is_one_job(schedule: Schedule) -> None:
    before, jobs = schedule.mined(), schedule.jobs()
    schedule.train(step=2)
    firings = [schedule.fire(identity) for identity in ("refresh-3", "refresh-4", "refresh-4")]
    first, *twins = [end_of(firing) for firing in firings]
    assert schedule.mined() == [*before, 2]
    outcomes = [(PUBLISHED in words, NOTHING in words) for words in (first, twins[0])]
    assert sorted(outcomes) == [(False, True), (True, False)]
    assert [PUBLISHED in words for words in twins] in ([True, True], [False, False]), "both follow one job"
    assert schedule.jobs() == [*jobs, "refresh-3", "refresh-4"]
