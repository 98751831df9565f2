import numpy as np
import pytest

from pipeline.evaluation.verification.plot import plot_verification
from pipeline.evaluation.verification.protocol import Verification
from pipeline.plotting import GREY
from tests.unit.evaluation.plots.pixels import amount, ink_at_the_edge, palette_colors, pixels
from tests.unit.evaluation.samples import verification


def test_an_earlier_result_is_drawn_into_the_roc_panel_only() -> None:
    last = verification(0.5)
    alone = pixels(plot_verification({"step 300": last}))
    both = pixels(plot_verification({"untrained": verification(2.0), "step 300": last}))
    # Legends lie below the panels and shift them a little: compare how much ink of the earlier curve there is.
    middle = alone.shape[1] // 2
    assert amount(both[:, :middle], GREY) > amount(alone[:, :middle], GREY) + 300
    assert abs(amount(both[:, middle:], GREY) - amount(alone[:, middle:], GREY)) < 100


def test_each_of_many_results_has_a_colour_of_its_own() -> None:
    results = {f"step {step}": verification(0.3 + 0.2 * step) for step in range(6)}
    assert len(palette_colors(pixels(plot_verification(results)), at_least=300)) == 6  # one is grey, one of the bars


def test_a_marked_rate_changes_the_picture() -> None:
    results = {"step 300": verification(0.5)}
    assert plot_verification(results, far=1e-3) != plot_verification(results, far=1e-2)


@pytest.mark.parametrize("distances", [([1.0], [1.0]), ([0.0, 0.0], [0.0]), ([0.5], [2.0, 2.0])])
def test_degenerate_distances_are_drawn(distances: tuple[list[float], list[float]]) -> None:
    same, different = (np.array(values, dtype=np.float32) for values in distances)
    assert not ink_at_the_edge(pixels(plot_verification({"odd": Verification(same, different)})))


@pytest.mark.parametrize("name", ["a name without end " * 20, "王小明", "$x$", "_", "WWWW" * 30])
def test_no_name_leaves_the_picture(name: str) -> None:
    picture = pixels(plot_verification({"untrained": verification(2.0), name: verification(0.5)}))
    assert picture.shape == (780, 1650, 3)
    assert not ink_at_the_edge(picture)
