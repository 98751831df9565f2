"""What holds for every protocol that measures embeddings with labels."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.config import ClusteringConfig, EvaluationConfig, RecognitionConfig, RetrievalConfig
from pipeline.errors import InputError
from pipeline.evaluation.clustering.protocol import evaluate_clustering
from pipeline.evaluation.evaluate import evaluate_embeddings
from pipeline.evaluation.identification.protocol import evaluate_identification
from pipeline.evaluation.quantisation import evaluate_quantisation
from pipeline.evaluation.recognition.protocol import evaluate_recognition
from pipeline.evaluation.retrieval import evaluate_retrieval
from pipeline.evaluation.verification.report import evaluate_verification
from tests.unit.evaluation.samples import unit_vectors

PROTOCOLS: dict[Callable[..., Any], tuple[Any, ...]] = {
    evaluate_clustering: (ClusteringConfig(), 0.5),
    evaluate_embeddings: (EvaluationConfig(),),
    evaluate_identification: (RecognitionConfig(),),
    evaluate_quantisation: (EvaluationConfig(),),
    evaluate_recognition: (RecognitionConfig(),),
    evaluate_retrieval: (RetrievalConfig(),),
    evaluate_verification: (EvaluationConfig(),),
}
every_protocol = pytest.mark.parametrize("evaluate", PROTOCOLS)


NAMES: dict[Callable[..., Any], set[str]] = {
    evaluate_clustering: {
        f"{method}_{score}"
        for method in ("agglomerative", "k_means", "hdbscan")
        for score in ("bcubed_f", "bcubed_precision", "bcubed_recall", "nmi", "ari")
    },
    evaluate_embeddings: {"recall_at_1", "roc_auc", "val_at_far_1e-03", "val_at_far_1e-02"},
    evaluate_identification: {
        *(f"identification_at_rank_{rank}" for rank in (1, 5, 10)), "dir_at_far_1e-02", "dir_at_far_1e-01",
    },
    evaluate_recognition: {*(f"knn_{k}_accuracy" for k in (1, 3, 5)), "svm_linear_accuracy"},
    evaluate_retrieval: {*(f"recall_at_{k}" for k in RetrievalConfig().ks), "r_precision", "map_at_r"},
    evaluate_verification: {"roc_auc", "eer", "pair_accuracy", "val_at_far_1e-03", "val_at_far_1e-02"},
}  # fmt: skip


@pytest.mark.parametrize("evaluate", NAMES)
def test_the_names_of_the_metrics_are_stable(evaluate: Callable[..., Any]) -> None:
    result = evaluate(*unit_vectors(120, 10, noise=0.6, seed=0), *PROTOCOLS[evaluate], seed=3)
    assert set(result.metrics()) == NAMES[evaluate]


@pytest.mark.parametrize("evaluate", [protocol for protocol in NAMES if protocol is not evaluate_clustering])
def test_perfect_embeddings_score_one_everywhere(evaluate: Callable[..., Any]) -> None:
    labels = np.repeat(np.arange(8), 5)
    metrics = evaluate(np.eye(8, dtype=np.float32)[labels], labels, *PROTOCOLS[evaluate], seed=0).metrics()
    metrics["error_free"] = 1.0 - metrics.pop("eer", 0.0)
    assert set(metrics.values()) == {1.0}


@every_protocol
def test_the_document_is_plain_json_and_decided_by_the_seed(evaluate: Callable[..., Any]) -> None:
    results = [evaluate(*unit_vectors(120, 10, noise=0.6, seed=0), *PROTOCOLS[evaluate], seed=3) for _ in range(2)]
    document = results[0].to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document == results[1].to_dict()
    assert document.items() >= results[0].metrics().items()


@every_protocol
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_broken_embeddings_are_counted_and_refused(evaluate: Callable[..., Any], value: float) -> None:
    embeddings, labels = unit_vectors(20, 2, noise=0.6, seed=0)
    embeddings[[3, 7], 1] = value
    with pytest.raises(InputError, match="2 of 20 embeddings hold NaN or infinity"):
        evaluate(embeddings, labels, *PROTOCOLS[evaluate], seed=0)


@every_protocol
def test_labels_of_another_length_are_a_programming_error(evaluate: Callable[..., Any]) -> None:
    embeddings, labels = unit_vectors(20, 2, noise=0.6, seed=0)
    with pytest.raises(ValueError, match=r"\(20, 8\) and labels \(19,\)"):
        evaluate(embeddings, labels[1:], *PROTOCOLS[evaluate], seed=0)


@pytest.mark.parametrize("evaluate", [protocol for protocol in PROTOCOLS if protocol is not evaluate_retrieval])
def test_one_label_alone_cannot_be_evaluated(evaluate: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="two labels"):
        evaluate(np.eye(3, dtype=np.float32), np.zeros(3, dtype=int), *PROTOCOLS[evaluate], seed=0)
