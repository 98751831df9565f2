"""What holds for every plot of results by name."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from pipeline.config import RecognitionConfig
from pipeline.evaluation.clustering.plot import plot_clustering
from pipeline.evaluation.clustering.protocol import Clustering, score_partition
from pipeline.evaluation.compatibility.plot import plot_compatibility
from pipeline.evaluation.identification.plot import plot_identification
from pipeline.evaluation.identification.protocol import IdentificationReport, evaluate_identification
from pipeline.evaluation.plots.learning_curve import plot_learning_curve
from pipeline.evaluation.plots.projection import plot_projection
from pipeline.evaluation.recognition.plot import plot_recognition
from pipeline.evaluation.recognition.protocol import RecognitionReport, evaluate_recognition
from pipeline.evaluation.robustness.plot import plot_robustness, plot_sweeps
from pipeline.evaluation.sweep import Sweep, SweepRow
from pipeline.evaluation.verification.plot import plot_verification
from tests.unit.evaluation.plots import test_clustering, test_sweeps
from tests.unit.evaluation.plots.pixels import png_size
from tests.unit.evaluation.plots.test_sweeps import VAL
from tests.unit.evaluation.samples import unit_vectors, verification


def identification(noise: float, num_labels: int = 30) -> IdentificationReport:
    return evaluate_identification(*unit_vectors(200, num_labels, noise, seed=0), RecognitionConfig(), seed=0)


def recognition(noise: float, **config: object) -> RecognitionReport:
    checked = RecognitionConfig.model_validate({"num_folds": 3, **config})
    return evaluate_recognition(*unit_vectors(100, 10, noise, seed=0), checked, seed=0)


def clusters(found: list[int]) -> Clustering:
    partition = score_partition(np.array([0, 1]), np.array(found))
    return Clustering(2, np.array([1, 1]), 0.1, {"hdbscan": partition})


def swept(*values: float, figure: float = 0.8, unperturbed: float | None = None) -> bytes:
    rows = tuple(SweepRow(value, {VAL: figure}) for value in values)
    whole = None if unperturbed is None else {VAL: unperturbed}
    return plot_sweeps({"走 $5 step_" + 80 * "9": [Sweep("images", "Training set", "images", rows, whole)]}, VAL)


PLOTS: dict[str, tuple[Callable[..., bytes], Callable[[float], Any]]] = {
    "clustering": (plot_clustering, test_clustering.clustering),
    "compatibility": (plot_compatibility, verification),
    "identification": (plot_identification, identification),
    "recognition": (plot_recognition, recognition),
    "robustness": (plot_robustness, test_sweeps.robustness),
    "verification": (plot_verification, verification),
}
"""Each plot, and a result for a number."""
NOTHING: dict[str, Callable[[], bytes]] = {
    **{name: partial(plot, {}) for name, (plot, _) in PLOTS.items()},
    "sweeps": partial(plot_sweeps, {"main": []}, VAL),
    "projection": partial(plot_projection, np.empty((0, 2)), np.empty(0, dtype=np.int64), [], "PCA"),
    "learning curve": partial(plot_learning_curve, []),
    "learning curve without metrics": partial(plot_learning_curve, [(0, {})]),
    "learning curve without shares": partial(plot_learning_curve, [(0, {"loss": 1.0})]),
}
DRAWN: dict[str, Callable[[], bytes]] = {
    "a gallery of two": lambda: plot_identification({"two": identification(0.5, 2)}),
    "galleries of two sizes": lambda: plot_identification({"$odd_": identification(0.5, 2), "x": identification(0.5)}),
    "different classifiers": lambda: plot_recognition(
        {"_a": recognition(0.5, num_neighbours=(1,)), "b": recognition(0.5, svm_kernels=("rbf",))}
    ),
    "many results": lambda: plot_recognition(dict.fromkeys([f"step {step}" for step in range(12)], recognition(0.5))),
    "one cluster": lambda: plot_clustering({"odd": clusters([0, 0])}),
    "noise alone": lambda: plot_clustering({"odd": clusters([-1, -1])}),
    "many orders of magnitude and a name of any script": lambda: swept(2.6e6, 2.6e7, 2.6e8),
    "a single value of nothing": lambda: swept(40.0, figure=0.0, unperturbed=0.0),
    "a flat line at the top": lambda: swept(40.0, figure=1.0, unperturbed=1.0),
}


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_degenerate_odd_or_much_is_drawn(name: str) -> None:
    assert DRAWN[name]().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "num_results", "size"),
    [
        ("identification", 1, (1650, 780)),
        ("identification", 12, (1650, 780 + 10 * 27)),
        ("recognition", 1, (1200,)),
        ("verification", 1, (1650, 780)),
        ("verification", 2, (1650, 780)),
        ("verification", 4, (1650, 834)),
    ],
)
def test_the_picture_is_a_png_of_the_documented_size_with_room_for_each_line_of_its_legend(
    name: str, num_results: int, size: tuple[int, ...]
) -> None:
    plot, result = PLOTS[name]
    picture = plot(dict.fromkeys([f"step {step}" for step in range(num_results)], result(0.5)))
    assert png_size(picture)[: len(size)] == size


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_results_give_the_same_picture_and_others_another(name: str) -> None:
    plot, result = PLOTS[name]
    first, second = result(0.9), result(0.3)
    picture = plot({"untrained": first, "step 300": second})
    assert picture == plot({"untrained": first, "step 300": second})
    assert picture != plot({"untrained": second, "step 300": first})


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_plot_is_a_programming_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"there is no (result|sweep|point|metric) to plot|are needed"):
        NOTHING[name]()


def test_pyplot_and_its_global_state_are_left_out() -> None:
    code = "import sys, pipeline.stages.evaluate.protocols; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
