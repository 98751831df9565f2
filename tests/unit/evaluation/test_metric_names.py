import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.metric_names import far_name, metric_label, val_name


@given(st.floats(1e-6, 0.999))
def test_different_rates_have_different_names_that_read_back(far: float) -> None:
    assert float(far_name(far)) == far


def test_rates_are_named_as_people_write_them() -> None:
    assert [far_name(far) for far in (1e-3, 0.01, 0.0015, 0.2)] == ["1e-03", "1e-02", "1.5e-03", "2e-01"]


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("recall_at_1", "recall@1"),
        ("roc_auc", "ROC AUC"),
        ("eer", "EER"),
        (val_name(1e-3), "VAL at FAR 1e-3"),
        ("val_at_far_1.5e-05", "VAL at FAR 1.5e-5"),
        ("val_at_far_1e-10", "VAL at FAR 1e-10"),
        ("val_at_far_1e+00", "VAL at FAR 1e0"),
        ("val_at_far_0.25", "VAL at FAR 0.25"),
        ("pair_accuracy", "pair accuracy"),
        ("val_at_far_1e-03_jpeg_10", "val at far 1e-03 jpeg 10"),
    ],
)
def test_people_read_the_usual_names_of_metrics(metric: str, label: str) -> None:
    assert metric_label(metric) == label
