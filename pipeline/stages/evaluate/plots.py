"""Plots that show a checkpoint's embeddings and the examples themselves."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from pipeline.corpus.cache import ExampleCache
from pipeline.evaluation.plots.faces import LabelledImages, plot_worst_pairs
from pipeline.evaluation.plots.matrix import plot_distance_matrix, sample_label_examples
from pipeline.evaluation.plots.projection import plot_projection, project, sample_points
from pipeline.evaluation.plots.worst import SearchLimits, WorstPairs, find_worst_pairs
from pipeline.evaluation.verification.protocol import evaluate_pairs
from pipeline.stages.evaluate.context import EvaluationContext

NUM_WORST = 8
MATRIX_LABELS, MATRIX_IMAGES = 6, 4
METHOD_NAMES = {"pca": "PCA", "t_sne": "t-SNE", "umap": "UMAP"}


@dataclass(frozen=True)
class WorstPairsResult:
    """The worst pairs, and the threshold that gets them wrong.

    Attributes:
        worst: False accepts and false rejects.
        threshold: The distance up to which a pair is accepted, at the config's first false accept rate.
    """

    worst: WorstPairs
    threshold: float

    def metrics(self) -> dict[str, float]:
        """None: plots are to be looked at."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the pairs by example id."""
        return {"threshold": self.threshold} | asdict(self.worst)


def evaluate(context: EvaluationContext) -> WorstPairsResult:
    """Finds the worst pairs."""
    examples, config, seed = context.evaluation_set, context.config.evaluation, context.config.seed
    verification = evaluate_pairs(examples.vectors_ND, examples.labels_N, config.max_pairs, seed)
    threshold = min(verification.at_far(config.fars[0]).threshold, 4.0)
    worst = find_worst_pairs(examples.vectors_ND, examples.labels_N, examples.ids_N, SearchLimits(NUM_WORST), seed)
    return WorstPairsResult(worst, threshold)


def plot(context: EvaluationContext, results: Mapping[str, WorstPairsResult]) -> dict[str, bytes]:
    """Plots a projection of the last checkpoint's embeddings; of images, also the worst pairs and a distance matrix."""
    worst, threshold = results[context.name].worst, results[context.name].threshold
    examples, names, seed = context.evaluation_set, context.corpus.label_names, context.config.seed
    method = context.config.evaluation.projection
    sampled = sample_points(examples.labels_N, seed)
    points_N2 = project(examples.vectors_ND[sampled], method, seed)
    title = f"{METHOD_NAMES[method]}, {context.name}"
    plots = {"projection.png": plot_projection(points_N2, examples.labels_N[sampled], names, title)}
    if context.corpus.payload.viewer is not None:
        view = context.corpus.payload.viewer(context.config.transform)
        cache = ExampleCache.of(context.corpus, context.config.cluster)

        def image_of(example_id: int) -> Image.Image:
            return view(cache.content(example_id))

        shown = LabelledImages(image_of, names)
        plots["worst-pairs.png"] = plot_worst_pairs(worst.false_accepts, worst.false_rejects, shown, threshold)
        rows = sample_label_examples(examples.labels_N, MATRIX_LABELS, MATRIX_IMAGES, seed)
        images = [image_of(int(example_id)) for example_id in examples.ids_N[rows]]
        plots["distance-matrix.png"] = plot_distance_matrix(
            examples.vectors_ND[rows], examples.labels_N[rows], names, images, threshold
        )
    return plots
