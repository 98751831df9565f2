"""What `jobs.evaluate` can measure: a name, a few words, what measures it, and what draws it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, runtime_checkable
from typing import Protocol as Interface

import numpy as np

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.evaluation.clustering.plot import draw_clustering
from pipeline.evaluation.clustering.protocol import Clustering, cluster
from pipeline.evaluation.compatibility.plot import draw_harmonic
from pipeline.evaluation.compatibility.protocol import Compatibility
from pipeline.evaluation.identification.plot import draw_identification
from pipeline.evaluation.identification.protocol import IdentificationReport, report_identification
from pipeline.evaluation.lfw.scores import View1, View2
from pipeline.evaluation.quantisation import Quantisation, measure_quantisation
from pipeline.evaluation.recognition.plot import draw_recognition
from pipeline.evaluation.recognition.protocol import RecognitionReport, report_recognition
from pipeline.evaluation.retrieval import Retrieval, retrieve
from pipeline.evaluation.robustness.plot import draw_robustness
from pipeline.evaluation.robustness.protocol import sample_examples
from pipeline.evaluation.verification.plot import draw_verification
from pipeline.evaluation.verification.protocol import Verification, verify
from pipeline.evaluation.verification.report import VerificationReport, report_verification
from pipeline.stages.evaluate import compatibility as compatibility_stage
from pipeline.stages.evaluate import lfw as lfw_stage
from pipeline.stages.evaluate import plots as picture_stage
from pipeline.stages.evaluate import robustness as robustness_stage
from pipeline.stages.evaluate.examination import Examination

Pngs = dict[str, bytes]
"""By file name."""


class Result(Interface):
    """What a protocol found on one checkpoint."""

    def metrics(self) -> dict[str, float]:
        """Figures of merit under stable names, comparable over checkpoints."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, and the counts and thresholds behind them."""


@runtime_checkable
class HasStandardErrors(Interface):
    """A result whose metrics are means."""

    def standard_errors(self) -> dict[str, float]:
        """Of its metrics, by the same names."""


def _always(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    return ""


def _nothing(last: Examination, results: Mapping[str, Any]) -> Pngs:
    return {}


@dataclass(frozen=True)
class Protocol:
    """One way of measuring a checkpoint.

    Attributes:
        words: For ``--help``.
        measure: Measures.
        draw: From the last examination and the results of all checkpoints, by name.
        why_not: What is missing, in a sentence, for measuring a checkpoint; empty where nothing is.
        measures_subject: Whether it is the config's examples that are measured; else the protocol chooses by itself.
    """

    words: str
    measure: Callable[[Examination], Result]
    draw: Callable[[Examination, Mapping[str, Any]], Pngs] = _nothing
    why_not: Callable[[RunConfig, Corpus, CheckpointManifest], str] = _always
    measures_subject: bool = True


def _verification(one: Examination) -> VerificationReport:
    return report_verification(one.subject.vectors_ND, one.subject.labels_N, one.config.evaluation, one.config.seed)


def _retrieval(one: Examination) -> Retrieval:
    config = one.config.evaluation.retrieval
    return retrieve(one.subject.vectors_ND, one.subject.labels_N, config, one.config.seed)


def _clustering(one: Examination) -> Clustering:
    subject, config, seed = one.subject, one.config.evaluation, one.config.seed
    found = verify(subject.vectors_ND, subject.labels_N, config.max_pairs, seed)
    threshold = found.at_far(config.fars[0]).threshold
    return cluster(subject.vectors_ND, subject.labels_N, config.clustering, threshold, seed)


def _recognition(one: Examination) -> RecognitionReport:
    config = one.config.evaluation.recognition
    return report_recognition(one.subject.vectors_ND, one.subject.labels_N, config, one.config.seed)


def _identification(one: Examination) -> IdentificationReport:
    config = one.config.evaluation.recognition
    return report_identification(one.subject.vectors_ND, one.subject.labels_N, config, one.config.seed)


def _quantisation(one: Examination) -> Quantisation:
    subject, config, seed = one.subject, one.config.evaluation, one.config.seed
    rows = np.arange(len(subject.ids_N))
    if len(rows) > config.retrieval.max_queries:  # recall@1 compares every example with every other, twice
        rows = sample_examples(subject.labels_N, config.retrieval.max_queries, seed)
    return measure_quantisation(subject.vectors_ND[rows], subject.labels_N[rows], config, seed)


def _draw_rocs(last: Examination, verifications: Mapping[str, Verification], file: str) -> Pngs:
    return {file: draw_verification(verifications, last.config.evaluation.fars[0])}


def _draw_verification(last: Examination, results: Mapping[str, VerificationReport]) -> Pngs:
    return _draw_rocs(last, {name: report.verification for name, report in results.items()}, "verification.png")


def _draw_view2(last: Examination, results: Mapping[str, View2]) -> Pngs:
    return _draw_rocs(last, {name: result.verifications[0] for name, result in results.items()}, "lfw.png")


def _draw_view1(last: Examination, results: Mapping[str, View1]) -> Pngs:
    return _draw_rocs(last, {name: result.verification for name, result in results.items()}, "lfw-view1.png")


def _draw_harmonic(last: Examination, results: Mapping[str, Compatibility]) -> Pngs:
    reports = results[last.name].reports
    found = {name.replace("_", " vs "): report.verification for name, report in reports.items()}
    return {"harmonic.png": draw_harmonic(found, last.config.evaluation.fars[0])}


def _draws(file: str, draw: Callable[[Mapping[str, Any]], bytes]) -> Callable[[Examination, Mapping[str, Any]], Pngs]:
    return lambda last, results: {file: draw(results)}


PROTOCOLS: dict[str, Protocol] = {
    "verification": Protocol(
        "VAL at FARs with standard errors, ROC, equal error rate", _verification, _draw_verification
    ),
    "retrieval": Protocol("recall@K, R-precision, MAP@R", _retrieval),
    "clustering": Protocol(
        "agglomerative, k-means, HDBSCAN: BCubed, NMI, adjusted Rand",
        _clustering,
        _draws("clustering.png", draw_clustering),
    ),
    "recognition": Protocol(
        "kNN and SVM on the frozen embedding, cross-validated",
        _recognition,
        _draws("recognition.png", draw_recognition),
    ),
    "identification": Protocol(
        "rank-k of a gallery, closed and open set",
        _identification,
        _draws("identification.png", draw_identification),
    ),
    "robustness": Protocol(
        "VAL under JPEG, small images, blur, occlusion and noise",
        robustness_stage.measure,
        _draws("robustness.png", draw_robustness),
        robustness_stage.why_not,
    ),
    "quantisation": Protocol("what int8 embeddings lose and save", _quantisation),
    "pictures": Protocol("projection, worst pairs, distance matrix", picture_stage.measure, picture_stage.draw),
    "lfw": Protocol(
        "LFW's View 2, both settings",
        lfw_stage.measure_view2,
        _draw_view2,
        lfw_stage.why_not,
        measures_subject=False,
    ),
    "lfw_int8": Protocol(
        "View 2 with int8 embeddings", lfw_stage.measure_int8, why_not=lfw_stage.why_not, measures_subject=False
    ),
    "lfw_view1": Protocol(
        "LFW's View 1, for development",
        lfw_stage.measure_view1,
        _draw_view1,
        lfw_stage.why_not,
        measures_subject=False,
    ),
    "harmonic": Protocol(
        "against the old encoder's vectors", compatibility_stage.measure, _draw_harmonic, compatibility_stage.why_not
    ),
}

DEFAULT_PROTOCOLS = ("verification", "retrieval")
