"""Pictures of a checkpoint's embeddings that show the examples themselves."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.corpus.cache import ExampleCache
from pipeline.evaluation.plots.faces import draw_worst_pairs
from pipeline.evaluation.plots.matrix import choose_examples, draw_distance_matrix
from pipeline.evaluation.plots.projection import choose_points, draw_projection, project
from pipeline.evaluation.plots.worst import WorstPairs, worst_pairs
from pipeline.evaluation.verification.protocol import verify
from pipeline.stages.evaluate.examination import Examination

NUM_WORST = 8
MATRIX_LABELS, MATRIX_IMAGES = 6, 4


@dataclass(frozen=True)
class Portrait:
    """What the pictures show.

    Attributes:
        worst: False accepts and false rejects.
        threshold: The distance up to which a pair is accepted: that of the config's first false accept rate.
    """

    worst: WorstPairs
    threshold: float

    def metrics(self) -> dict[str, float]:
        """None: pictures are to be looked at."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the pairs by example id."""
        return {"threshold": self.threshold} | asdict(self.worst)


def measure(one: Examination) -> Portrait:
    """Finds the worst pairs."""
    evaluation, subject, seed = one.config.evaluation, one.subject, one.config.seed
    verification = verify(subject.vectors_ND, subject.labels_N, evaluation.max_pairs, seed)
    threshold = min(verification.at_far(evaluation.fars[0]).threshold, 4.0)
    worst = worst_pairs(subject.vectors_ND, subject.labels_N, subject.ids_N, NUM_WORST, seed)
    return Portrait(worst, threshold)


def draw(one: Examination, results: Mapping[str, Portrait]) -> dict[str, bytes]:
    """Of the last checkpoint: a projection, and, of images, the worst pairs and a matrix of distances."""
    portrait = results[one.name]
    subject, names, seed = one.subject, one.corpus.label_names, one.config.seed
    method = one.config.evaluation.projection
    points = choose_points(subject.labels_N, seed)
    plane = project(subject.vectors_ND[points], method, seed)
    words = {"pca": "PCA", "t_sne": "t-SNE", "umap": "UMAP"}[method]
    pictures = {"projection.png": draw_projection(plane, subject.labels_N[points], names, f"{words}, {one.name}")}
    if one.corpus.payload.viewer is not None:
        view, worst = one.corpus.payload.viewer(one.config.transform), portrait.worst
        cache = ExampleCache.of(one.corpus, one.config.cluster)
        pictures["worst-pairs.png"] = draw_worst_pairs(
            worst.false_accepts,
            worst.false_rejects,
            lambda example: view(cache.content(example)),
            names,
            portrait.threshold,
        )
        rows = choose_examples(subject.labels_N, MATRIX_LABELS, MATRIX_IMAGES, seed)
        images = [view(cache.content(int(example))) for example in subject.ids_N[rows]]
        pictures["distance-matrix.png"] = draw_distance_matrix(
            subject.vectors_ND[rows], subject.labels_N[rows], names, images, portrait.threshold
        )
    return pictures
