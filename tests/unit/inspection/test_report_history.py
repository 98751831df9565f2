import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.inspection.report.history import MAX_STEP_BINS, read_evaluations, read_training, refusals_since
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.unit.inspection.report_samples import publish_checkpoint, put_json, put_refusal
from tests.unit.triplets.samples import manifest_of


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(str(tmp_path), "main")


def test_the_curve_of_a_short_run_holds_every_step(workspace: Workspace) -> None:
    publish_checkpoint(workspace, 0)
    publish_checkpoint(workspace, 3, [0.5, 0.25, 0.125])
    publish_checkpoint(workspace, 5, [1.0, 2.0])
    training = read_training(workspace)
    assert training.loss.step_S.tolist() == [0, 1, 2, 3, 4]
    assert training.loss.mean_S.tolist() == [0.5, 0.25, 0.125, 1.0, 2.0]
    assert training.active_share.mean_S.tolist() == [0.4] * 5
    assert training.metric("listed_active_share") == [(3.0, 0.625), (5.0, 0.625)]


def test_the_curve_of_a_long_run_holds_the_mean_and_the_range_of_equal_bins(workspace: Workspace) -> None:
    num_steps = 10 * MAX_STEP_BINS
    losses = np.random.default_rng(0).uniform(0, 1, num_steps)
    for end in range(num_steps // 4, num_steps + 1, num_steps // 4):
        publish_checkpoint(workspace, end, losses[end - num_steps // 4 : end].tolist())
    loss = read_training(workspace).loss
    by_bin = losses.reshape(MAX_STEP_BINS, 10)
    assert len(loss.step_S) == MAX_STEP_BINS
    np.testing.assert_allclose(loss.mean_S, by_bin.mean(axis=1))
    np.testing.assert_array_equal(loss.low_S, by_bin.min(axis=1))
    np.testing.assert_array_equal(loss.high_S, by_bin.max(axis=1))
    np.testing.assert_array_equal(loss.step_S, np.arange(MAX_STEP_BINS) * 10 + 4.5)


def test_steps_whose_loss_is_no_number_are_counted_and_left_out_of_the_mean(workspace: Workspace) -> None:
    publish_checkpoint(workspace, 4, [0.5, math.nan, math.inf, 0.25])
    loss = read_training(workspace).loss
    assert loss.num_not_finite == 2
    np.testing.assert_array_equal(loss.mean_S, [0.5, math.nan, math.nan, 0.25])


def test_a_run_without_a_checkpoint_has_an_empty_curve(workspace: Workspace) -> None:
    training = read_training(workspace)
    assert (len(training.manifests), len(training.loss.step_S), training.metric("x")) == (0, 0, [])


def test_evaluations_are_the_top_figures_of_this_runs_steps(workspace: Workspace) -> None:
    put_json(workspace, "runs/main/evaluation/000000008/retrieval.json", {"recall_at_1": 0.5, "deep": {"x": 1}})
    put_json(workspace, "runs/main/evaluation/000000008/verification.json", {"roc_auc": 1, "is_resolved": True})
    put_json(workspace, "runs/main/evaluation/000000000/retrieval.json", {"recall_at_1": 0.25})
    put_json(workspace, "runs/main/evaluation/000000008/all/retrieval.json", {"recall_at_1": 1.0})
    put_json(workspace, "runs/main/evaluation/000000008/quantisation.json", {"recall_at_1": 1.0})
    put_json(workspace, "runs/other/evaluation/000000009/retrieval.json", {"recall_at_1": 1.0})
    found = read_evaluations(workspace)
    assert list(found) == [0, 8]
    assert found[8] == {"recall_at_1": 0.5, "roc_auc": 1.0}
    assert found[0] == {"recall_at_1": 0.25}


def test_refusals_since_the_newest_generation_come_newest_first(workspace: Workspace) -> None:
    for step in (4, 12, 8):
        put_refusal(workspace, step)
    assert [refusal.step for refusal in refusals_since(workspace, None)] == [12, 8, 4]
    transaction = generations(workspace).begin(0)
    newest = manifest_of(transaction, 1, step=8)  # published after all
    assert [refusal.step for refusal in refusals_since(workspace, newest)] == [12]
    put_refusal(workspace, 8, created_at="2999-01-01T00:00:00+00:00")  # and refused again, with other settings
    assert [refusal.step for refusal in refusals_since(workspace, newest)] == [12, 8]
