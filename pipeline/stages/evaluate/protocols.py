"""The protocols of `jobs.evaluate`: a table of names, descriptions, and functions that evaluate and plot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.evaluation.clustering.plot import plot_clustering
from pipeline.evaluation.clustering.protocol import Clustering, evaluate_clustering
from pipeline.evaluation.compatibility.plot import plot_compatibility
from pipeline.evaluation.compatibility.protocol import Compatibility
from pipeline.evaluation.identification.plot import plot_identification
from pipeline.evaluation.identification.protocol import IdentificationReport, evaluate_identification
from pipeline.evaluation.quantisation import Quantisation, evaluate_quantisation
from pipeline.evaluation.recognition.plot import plot_recognition
from pipeline.evaluation.recognition.protocol import RecognitionReport, evaluate_recognition
from pipeline.evaluation.retrieval import Retrieval, evaluate_retrieval
from pipeline.evaluation.robustness.plot import plot_robustness
from pipeline.evaluation.robustness.protocol import sample_examples
from pipeline.evaluation.verification.plot import plot_verification
from pipeline.evaluation.verification.protocol import Verification, evaluate_pairs
from pipeline.evaluation.verification.report import VerificationReport, evaluate_verification
from pipeline.stages.evaluate import compatibility, lfw, plots, robustness
from pipeline.stages.evaluate.context import EvaluationContext

Pngs = dict[str, bytes]
"""By file name."""
Plot = Callable[[EvaluationContext, Mapping[str, Any]], Pngs]


class Result(Protocol):
    """The result of a protocol on a checkpoint."""

    def metrics(self) -> dict[str, float]:
        """Figures of merit under stable names, comparable over checkpoints."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, and the counts and thresholds behind them."""


@runtime_checkable
class HasStandardErrors(Protocol):
    """A result whose metrics are means."""

    def standard_errors(self) -> dict[str, float]:
        """Of its metrics, by the same names."""


def _always_available(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    return ""


def _no_plot(last: EvaluationContext, results: Mapping[str, Any]) -> Pngs:
    return {}


@dataclass(frozen=True)
class EvaluationProtocol:
    """A way of evaluating a checkpoint.

    Attributes:
        description: For ``--help``.
        evaluate: Evaluates a checkpoint.
        plot: Plots the results of all checkpoints, by name; it also gets the last checkpoint's context.
        unavailable_reason: What is missing for evaluating a checkpoint, in a sentence; empty where nothing is.
        uses_evaluation_set: Whether it evaluates the config's examples; else the protocol chooses by itself.
    """

    description: str
    evaluate: Callable[[EvaluationContext], Result]
    plot: Plot = _no_plot
    unavailable_reason: Callable[[RunConfig, Corpus, CheckpointManifest], str] = _always_available
    uses_evaluation_set: bool = True


def _verification(context: EvaluationContext) -> VerificationReport:
    examples, config = context.evaluation_set, context.config
    return evaluate_verification(examples.vectors_ND, examples.labels_N, config.evaluation, config.seed)


def _retrieval(context: EvaluationContext) -> Retrieval:
    examples, config = context.evaluation_set, context.config
    return evaluate_retrieval(examples.vectors_ND, examples.labels_N, config.evaluation.retrieval, config.seed)


def _clustering(context: EvaluationContext) -> Clustering:
    examples, config, seed = context.evaluation_set, context.config.evaluation, context.config.seed
    verification = evaluate_pairs(examples.vectors_ND, examples.labels_N, config.max_pairs, seed)
    threshold = verification.at_far(config.fars[0]).threshold
    return evaluate_clustering(examples.vectors_ND, examples.labels_N, config.clustering, threshold, seed)


def _recognition(context: EvaluationContext) -> RecognitionReport:
    examples, config = context.evaluation_set, context.config
    return evaluate_recognition(examples.vectors_ND, examples.labels_N, config.evaluation.recognition, config.seed)


def _identification(context: EvaluationContext) -> IdentificationReport:
    examples, config = context.evaluation_set, context.config
    return evaluate_identification(examples.vectors_ND, examples.labels_N, config.evaluation.recognition, config.seed)


def _quantisation(context: EvaluationContext) -> Quantisation:
    examples, config, seed = context.evaluation_set, context.config.evaluation, context.config.seed
    rows = np.arange(len(examples.ids_N))
    if len(rows) > config.retrieval.max_queries:  # recall@1 compares every example with every other, twice
        rows = sample_examples(examples.labels_N, config.retrieval.max_queries, seed)
    return evaluate_quantisation(examples.vectors_ND[rows], examples.labels_N[rows], config, seed)


def _plot_rocs(file: str, verification_of: Callable[[Any], Verification]) -> Plot:
    def plot(last: EvaluationContext, results: Mapping[str, Any]) -> Pngs:
        verifications = {name: verification_of(result) for name, result in results.items()}
        return {file: plot_verification(verifications, last.config.evaluation.fars[0])}

    return plot


def _plot_compatibility(last: EvaluationContext, results: Mapping[str, Compatibility]) -> Pngs:
    reports = results[last.name].reports
    verifications = {name.replace("_", " vs "): report.verification for name, report in reports.items()}
    return {"harmonic.png": plot_compatibility(verifications, last.config.evaluation.fars[0])}


def _plot_into(file: str, plot: Callable[[Mapping[str, Any]], bytes]) -> Plot:
    return lambda last, results: {file: plot(results)}


PROTOCOLS: dict[str, EvaluationProtocol] = {
    "verification": EvaluationProtocol(
        "VAL at FARs with standard errors, ROC, equal error rate",
        _verification,
        _plot_rocs("verification.png", lambda report: report.verification),
    ),
    "retrieval": EvaluationProtocol("recall@K, R-precision, MAP@R", _retrieval),
    "clustering": EvaluationProtocol(
        "agglomerative, k-means, HDBSCAN: BCubed, NMI, adjusted Rand",
        _clustering,
        _plot_into("clustering.png", plot_clustering),
    ),
    "recognition": EvaluationProtocol(
        "kNN and SVM on the frozen embedding, cross-validated",
        _recognition,
        _plot_into("recognition.png", plot_recognition),
    ),
    "identification": EvaluationProtocol(
        "rank-k of a gallery, closed and open set",
        _identification,
        _plot_into("identification.png", plot_identification),
    ),
    "robustness": EvaluationProtocol(
        "VAL under JPEG, small images, blur, occlusion and noise",
        robustness.evaluate,
        _plot_into("robustness.png", plot_robustness),
        robustness.unavailable_reason,
    ),
    "quantisation": EvaluationProtocol("what int8 embeddings lose and save", _quantisation),
    "pictures": EvaluationProtocol("projection, worst pairs, distance matrix", plots.evaluate, plots.plot),
    "lfw": EvaluationProtocol(
        "LFW's View 2, both settings",
        lfw.evaluate_view2,
        _plot_rocs("lfw.png", lambda view2: view2.verifications[0]),
        lfw.unavailable_reason,
        uses_evaluation_set=False,
    ),
    "lfw_int8": EvaluationProtocol(
        "View 2 with int8 embeddings", lfw.evaluate_int8, _no_plot, lfw.unavailable_reason, uses_evaluation_set=False
    ),
    "lfw_view1": EvaluationProtocol(
        "LFW's View 1, for development",
        lfw.evaluate_view1,
        _plot_rocs("lfw-view1.png", lambda view1: view1.verification),
        lfw.unavailable_reason,
        uses_evaluation_set=False,
    ),
    "harmonic": EvaluationProtocol(
        "against the old encoder's vectors",
        compatibility.evaluate,
        _plot_compatibility,
        compatibility.unavailable_reason,
    ),
}

DEFAULT_PROTOCOLS = ("verification", "retrieval")
