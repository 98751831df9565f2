import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import EvaluationConfig
from pipeline.evaluation.sweep import Sweep, SweepRow, tabulate_runs, value_name
from pipeline.evaluation.verification.report import evaluate_verification
from tests.unit.evaluation.samples import unit_vectors

VAL = "val_at_far_1e-03"
ROWS = (SweepRow(10.0, {VAL: 0.3, "roc_auc": 0.98765}), SweepRow(90.0, {VAL: 0.7, "roc_auc": 1.0}, {VAL: 0.0123}))


def test_the_table_has_a_row_for_each_value_and_the_unperturbed_row_last() -> None:
    sweep = Sweep("jpeg", "JPEG compression", "quality", ROWS, {VAL: 0.8, "roc_auc": 1.0})
    assert sweep.to_markdown() == (
        "### JPEG compression\n"
        "\n"
        "| quality | VAL at FAR 1e-3 | ROC AUC |\n"
        "|---|---:|---:|\n"
        "| 10 | 30.0 % | 0.9877 |\n"
        "| 90 | 70.0 % ± 1.2 | 1.0000 |\n"
        "| unspoilt | 80.0 % | 1.0000 |\n"
    )


def test_a_missing_figure_leaves_its_cell_empty() -> None:
    rows = (SweepRow(0.5, {"eer": 0.25}), SweepRow(2_600_000.0, {VAL: 0.7}))
    table = Sweep("x", "X", "x", rows).to_markdown()
    assert table.splitlines()[-2:] == ["| 0.5 | 25.0 % |  |", "| 2,600,000 |  | 70.0 % |"]


def test_the_retained_share_is_the_mean_over_the_values_as_a_share_of_the_unperturbed_figure() -> None:
    assert Sweep("x", "X", "x", ROWS, {VAL: 0.8}).retained_share(VAL) == pytest.approx(0.625)


def test_nothing_can_be_retained_of_nothing() -> None:
    assert Sweep("x", "X", "x", ROWS, {VAL: 0.0}).retained_share(VAL) is None
    assert Sweep("x", "X", "x", ROWS).retained_share(VAL) is None


def test_the_document_is_plain_json_and_reads_back() -> None:
    document = Sweep("x", "X", "unit", ROWS, {VAL: 0.8}).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["unspoilt"] == {VAL: 0.8}
    assert document["rows"][1] == {"value": 90.0, VAL: 0.7, "roc_auc": 1.0, "standard_errors": {VAL: 0.0123}}


def test_runs_are_rows_with_their_standard_errors_in_the_order_of_the_values() -> None:
    config = EvaluationConfig(num_splits=2)
    reports = {
        dim: evaluate_verification(*unit_vectors(120, 10, noise=0.6, seed=dim, dim=dim), config, seed=0)
        for dim in (16, 4)
    }
    sweep = tabulate_runs("embedding_dim", "Embedding size", "dimensions", reports)
    assert [row.value for row in sweep.rows] == [4.0, 16.0]
    for row in sweep.rows:
        assert row.metrics == reports[int(row.value)].metrics()
        assert row.standard_errors == reports[int(row.value)].standard_errors()
        assert VAL in row.standard_errors
    assert "±" in sweep.to_markdown()


@given(st.floats(1e-6, 1e9))
def test_a_value_reads_back_from_its_name(value: float) -> None:
    assert float(value_name(value)) == value
