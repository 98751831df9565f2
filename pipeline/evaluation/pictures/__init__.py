"""Pictures of an evaluation: results in, PNG bytes out."""

from pipeline.evaluation.pictures.clustering import draw_clustering
from pipeline.evaluation.pictures.curve import draw_learning_curve, has_curve
from pipeline.evaluation.pictures.faces import draw_worst_pairs
from pipeline.evaluation.pictures.harmonic import draw_harmonic
from pipeline.evaluation.pictures.identification import draw_identification
from pipeline.evaluation.pictures.matrix import choose_examples, draw_distance_matrix
from pipeline.evaluation.pictures.projection import choose_points, draw_projection, project
from pipeline.evaluation.pictures.recognition import draw_recognition
from pipeline.evaluation.pictures.sweeps import draw_robustness, draw_sweeps
from pipeline.evaluation.pictures.verification import draw_verification
from pipeline.evaluation.pictures.worst import Pair, WorstPairs, worst_pairs

__all__ = [
    "Pair",
    "WorstPairs",
    "choose_examples",
    "choose_points",
    "draw_clustering",
    "draw_distance_matrix",
    "draw_harmonic",
    "draw_identification",
    "draw_learning_curve",
    "draw_projection",
    "draw_recognition",
    "draw_robustness",
    "draw_sweeps",
    "draw_verification",
    "draw_worst_pairs",
    "has_curve",
    "project",
    "worst_pairs",
]
