import numpy as np

from pipeline.evaluation.compatibility.plot import plot_compatibility
from pipeline.evaluation.verification.protocol import Verification
from pipeline.plotting import PALETTE
from tests.unit.evaluation.plots.pixels import ink_at_the_edge, palette_colors, pixels
from tests.unit.evaluation.samples import verification


def test_each_kind_of_pairs_has_a_curve_of_its_own() -> None:
    results = {"new vs new": verification(0.4), "new vs old": verification(0.7), "old vs old": verification(1.0)}
    picture = pixels(plot_compatibility(results))
    assert palette_colors(picture, at_least=300) == set(PALETTE[:3])
    assert not ink_at_the_edge(picture)


def test_a_val_of_zero_has_no_place_on_the_axis_and_breaks_nothing() -> None:
    hopeless = Verification(same=np.array([3.0], dtype=np.float32), different=np.array([1.0, 2.0], dtype=np.float32))
    assert not ink_at_the_edge(pixels(plot_compatibility({"new vs old": hopeless})))
