"""Pictures of an evaluation: results in, PNG bytes out."""

from pipeline.evaluation.pictures.curve import draw_learning_curve
from pipeline.evaluation.pictures.faces import draw_worst_pairs
from pipeline.evaluation.pictures.harmonic import draw_harmonic
from pipeline.evaluation.pictures.matrix import choose_examples, draw_distance_matrix
from pipeline.evaluation.pictures.projection import choose_points, draw_projection, project
from pipeline.evaluation.pictures.verification import draw_verification
from pipeline.evaluation.pictures.worst import Pair, WorstPairs, worst_pairs

__all__ = [
    "Pair",
    "WorstPairs",
    "choose_examples",
    "choose_points",
    "draw_distance_matrix",
    "draw_harmonic",
    "draw_learning_curve",
    "draw_projection",
    "draw_verification",
    "draw_worst_pairs",
    "project",
    "worst_pairs",
]
