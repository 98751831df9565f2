import numpy as np

from pipeline.config import EvaluationConfig
from pipeline.evaluation.splits import evaluate_splits
from pipeline.evaluation.verification.protocol import evaluate_pairs
from pipeline.evaluation.verification.report import evaluate_verification
from tests.unit.evaluation.samples import unit_vectors

CONFIG = EvaluationConfig()


def test_the_figures_are_those_of_verification_and_of_its_splits() -> None:
    vectors, labels = unit_vectors(300, 40, noise=0.6, seed=0)
    report = evaluate_verification(vectors, labels, CONFIG, seed=3)
    whole = evaluate_pairs(vectors, labels, CONFIG.max_pairs, seed=3)
    assert report.metrics() == {
        "roc_auc": whole.roc_auc(),
        "eer": whole.eer().rate,
        "pair_accuracy": whole.accuracy(whole.best_threshold()),
        "val_at_far_1e-03": whole.at_far(1e-3).val,
        "val_at_far_1e-02": whole.at_far(1e-2).val,
    }
    splits = evaluate_splits(vectors, labels, CONFIG, 3)
    assert report.standard_errors() == {
        "val_at_far_1e-03": splits.rates[0].standard_error,
        "val_at_far_1e-02": splits.rates[1].standard_error,
    }


def test_the_document_counts_accepts() -> None:
    vectors, labels = unit_vectors(300, 40, noise=0.6, seed=0)
    document = evaluate_verification(vectors, labels, CONFIG, seed=0).to_dict()
    point = document["operating_points"][1]
    assert point["true_accepts"] == round(point["val"] * document["num_same_pairs"])
    assert point["false_accepts"] <= 0.01 * document["num_different_pairs"]


def test_too_few_labels_for_splits_are_said_and_the_whole_is_measured() -> None:
    report = evaluate_verification(*unit_vectors(30, 4, noise=0.3, seed=0), CONFIG, seed=0)
    assert report.splits is None and "evaluation.num_splits" in report.no_splits_reason
    assert report.standard_errors() == {} and report.metrics()["roc_auc"] > 0.5


def test_useless_embeddings_are_right_half_of_the_time() -> None:
    vectors, labels = np.ones((60, 20), dtype=np.float32), np.repeat(np.arange(20), 3)
    metrics = evaluate_verification(vectors, labels, CONFIG, seed=0).metrics()
    assert metrics["roc_auc"] == metrics["pair_accuracy"] == 0.5
