"""What holds for every plot of results by name."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.clustering.plot import plot_clustering
from pipeline.evaluation.compatibility.plot import plot_compatibility
from pipeline.evaluation.identification.plot import plot_identification
from pipeline.evaluation.plots.learning_curve import plot_learning_curve
from pipeline.evaluation.plots.projection import plot_projection
from pipeline.evaluation.recognition.plot import plot_recognition
from pipeline.evaluation.robustness.plot import plot_robustness, plot_sweeps
from pipeline.evaluation.verification.plot import plot_verification
from tests.unit.evaluation.plots import test_clustering, test_identification, test_recognition, test_sweeps
from tests.unit.evaluation.samples import verification

PLOTS: dict[str, tuple[Callable[..., bytes], Callable[[float], Any]]] = {
    "clustering": (plot_clustering, test_clustering.clustering),
    "compatibility": (plot_compatibility, verification),
    "identification": (plot_identification, test_identification.report),
    "recognition": (plot_recognition, test_recognition.report),
    "robustness": (plot_robustness, test_sweeps.robustness),
    "verification": (plot_verification, verification),
}
"""Each plot, and a result for a number."""
NOTHING: dict[str, Callable[[], bytes]] = {
    **{name: partial(plot, {}) for name, (plot, _) in PLOTS.items()},
    "sweeps": partial(plot_sweeps, {"main": []}, test_sweeps.VAL),
    "projection": partial(plot_projection, np.empty((0, 2)), np.empty(0, dtype=np.int64), [], "PCA"),
    "learning curve": partial(plot_learning_curve, []),
    "learning curve without metrics": partial(plot_learning_curve, [(0, {})]),
    "learning curve without shares": partial(plot_learning_curve, [(0, {"loss": 1.0})]),
}


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
