"""What `jobs.evaluate` can measure: a name, a few words, what measures it, and what draws it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

from pipeline.cluster import compatibility_stage, lfw_stage, robustness_stage
from pipeline.cluster.examination import Examination
from pipeline.cluster.picture_stage import Portrait, draw_portrait, portray
from pipeline.evaluation.clustering import Clustering, cluster
from pipeline.evaluation.compatibility import Compatibility
from pipeline.evaluation.identification import IdentificationReport, report_identification
from pipeline.evaluation.lfw_scores import View2
from pipeline.evaluation.pictures import draw_harmonic, draw_verification
from pipeline.evaluation.pictures.sweeps import draw_robustness
from pipeline.evaluation.quantisation import Quantisation, measure_quantisation
from pipeline.evaluation.recognition import RecognitionReport, report_recognition
from pipeline.evaluation.retrieval import Retrieval, retrieve
from pipeline.evaluation.robustness import Robustness
from pipeline.evaluation.verification import verify
from pipeline.evaluation.verification_report import VerificationReport, report_verification


class Result(Interface):
    """What a protocol found on one checkpoint."""

    def metrics(self) -> dict[str, float]:
        """Figures of merit under stable names, comparable over checkpoints."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, and the counts and thresholds behind them."""


def _draws_nothing(last: Examination, results: Mapping[str, Any]) -> dict[str, bytes]:
    return {}


@dataclass(frozen=True)
class Protocol:
    """One way of measuring a checkpoint.

    Attributes:
        words: For ``--help``.
        measure: Measures.
        draw: From the last examination and the results of all checkpoints by name: PNGs by file name.
        measures_subject: Whether it is the config's examples that are measured, so that none of their labels may have
            been trained on; else the protocol guards itself.
    """

    words: str
    measure: Callable[[Examination], Result]
    draw: Callable[[Examination, Mapping[str, Any]], dict[str, bytes]] = _draws_nothing
    measures_subject: bool = True


def _verification(one: Examination) -> VerificationReport:
    subject = one.subject
    return report_verification(subject.vectors_ND, subject.labels_N, one.config.evaluation, one.config.seed)


def _draw_verification(last: Examination, results: Mapping[str, VerificationReport]) -> dict[str, bytes]:
    far = last.config.evaluation.fars[0]
    found = {name: report.verification for name, report in results.items()}
    return {"verification.png": draw_verification(found, far)}


def _retrieval(one: Examination) -> Retrieval:
    subject, evaluation = one.subject, one.config.evaluation
    return retrieve(subject.vectors_ND, subject.labels_N, evaluation.retrieval, one.config.seed)


def _clustering(one: Examination) -> Clustering:
    subject, evaluation, seed = one.subject, one.config.evaluation, one.config.seed
    threshold = evaluation.clustering.distance_threshold
    if threshold is None:
        found = verify(subject.vectors_ND, subject.labels_N, evaluation.max_pairs, seed)
        threshold = found.at_far(evaluation.fars[0]).threshold
    return cluster(subject.vectors_ND, subject.labels_N, evaluation.clustering, threshold, seed)


def _quantisation(one: Examination) -> Quantisation:
    subject = one.subject
    return measure_quantisation(subject.vectors_ND, subject.labels_N, one.config.evaluation, one.config.seed)


def _recognition(one: Examination) -> RecognitionReport:
    subject = one.subject
    config = one.config.evaluation.recognition
    return report_recognition(subject.vectors_ND, subject.labels_N, config, one.config.seed)


def _identification(one: Examination) -> IdentificationReport:
    subject = one.subject
    config = one.config.evaluation.recognition
    return report_identification(subject.vectors_ND, subject.labels_N, config, one.config.seed)


def _draw_view2(last: Examination, results: Mapping[str, View2]) -> dict[str, bytes]:
    found = {name: result.verifications[0] for name, result in results.items()}
    return {"lfw.png": draw_verification(found, last.config.evaluation.fars[0])}


def _draw_robustness(last: Examination, results: Mapping[str, Robustness]) -> dict[str, bytes]:
    return {"robustness.png": draw_robustness(results)}


def _draw_harmonic(last: Examination, results: Mapping[str, Compatibility]) -> dict[str, bytes]:
    reports = results[last.name].reports
    found = {name.replace("_", " vs "): report.verification for name, report in reports.items()}
    return {"harmonic.png": draw_harmonic(found, last.config.evaluation.fars[0])}


def _draw_portrait(last: Examination, results: Mapping[str, Portrait]) -> dict[str, bytes]:
    return draw_portrait(last, results[last.name])


PROTOCOLS: dict[str, Protocol] = {
    "verification": Protocol(
        "VAL at FARs with standard errors, ROC, equal error rate", _verification, _draw_verification
    ),
    "retrieval": Protocol("recall@K, R-precision, MAP@R", _retrieval),
    "clustering": Protocol("agglomerative, k-means, HDBSCAN: NMI, adjusted Rand, BCubed", _clustering),
    "recognition": Protocol("kNN and SVM on the frozen embedding, cross-validated", _recognition),
    "identification": Protocol("rank-k of a gallery, closed and open set", _identification),
    "robustness": Protocol(
        "VAL under JPEG, size, blur, occlusion and noise", robustness_stage.measure, _draw_robustness
    ),
    "quantisation": Protocol("what int8 embeddings lose and save", _quantisation),
    "pictures": Protocol("projection, worst pairs, distance matrix", portray, _draw_portrait),
    "lfw": Protocol("LFW's View 2, both settings", lfw_stage.measure_view2, _draw_view2, measures_subject=False),
    "lfw_view1": Protocol("LFW's View 1, for development", lfw_stage.measure_view1, measures_subject=False),
    "harmonic": Protocol("against the old encoder's vectors", compatibility_stage.measure, _draw_harmonic),
}

DEFAULT_PROTOCOLS = ("verification", "retrieval")
