import numpy as np

from pipeline.config import EvaluationConfig
from pipeline.evaluation.evaluate import evaluate_embeddings
from pipeline.evaluation.retrieval import recall_at_1
from pipeline.evaluation.verification.protocol import evaluate_pairs
from tests.unit.evaluation.samples import brute_force_distances, unit_vectors

CONFIG = EvaluationConfig()


def test_the_document_has_stable_names() -> None:
    evaluation = evaluate_embeddings(*unit_vectors(80, 8, noise=0.6, seed=0), CONFIG, seed=0)
    assert set(evaluation.to_dict()) - set(evaluation.metrics()) == {
        "num_examples", "num_labels", "num_queries", "num_same_pairs", "num_different_pairs",
        "threshold_at_far_1e-03", "threshold_at_far_1e-02",
    }  # fmt: skip


def test_counts_and_metrics_are_those_of_the_parts() -> None:
    embeddings, labels = unit_vectors(80, 8, noise=0.6, seed=1)
    document = evaluate_embeddings(embeddings, labels, CONFIG, seed=0).to_dict()
    same, different = brute_force_distances(embeddings, labels)
    assert (document["num_examples"], document["num_labels"]) == (80, len(set(labels.tolist())))
    assert (document["num_same_pairs"], document["num_different_pairs"]) == (len(same), len(different))
    verification = evaluate_pairs(embeddings, labels, CONFIG.max_pairs, seed=0)
    assert document["recall_at_1"] == recall_at_1(embeddings, labels).recall_at_1
    assert document["roc_auc"] == verification.roc_auc()
    assert document["val_at_far_1e-02"] == verification.at_far(0.01).val
    assert document["threshold_at_far_1e-03"] == verification.at_far(0.001).threshold


def test_a_collapsed_encoder_scores_no_better_than_chance() -> None:
    labels = np.repeat(np.arange(5), 4)
    evaluation = evaluate_embeddings(np.ones((20, 2), dtype=np.float32), labels, CONFIG, seed=0)
    assert evaluation.roc_auc == 0.5
    assert evaluation.metrics()["val_at_far_1e-02"] == 0.0
