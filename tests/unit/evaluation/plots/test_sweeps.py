import pytest

from pipeline.evaluation.robustness.plot import plot_robustness, plot_sweeps
from pipeline.evaluation.robustness.protocol import Robustness
from pipeline.evaluation.sweep import Sweep, SweepRow
from pipeline.plotting import PALETTE
from tests.unit.evaluation.plots.pixels import num_pixels, png_size

VAL = "val_at_far_1e-03"


def sweep(name: str = "jpeg", best: float = 0.9, unperturbed: float | None = None, error: float | None = None) -> Sweep:
    errors = {} if error is None else {VAL: error}
    rows = tuple(SweepRow(float(value), {VAL: best * value / 90}, errors) for value in (10, 30, 90))
    return Sweep(name, name.title(), "value", rows, None if unperturbed is None else {VAL: unperturbed}, is_log=False)


def robustness(best: float = 0.9, far: float = 1e-3) -> Robustness:
    return Robustness({}, (far,), {VAL: best}, (sweep("jpeg", best, best), sweep("blur", best, best)))


@pytest.mark.parametrize(("num_sweeps", "size"), [(1, (825, 540)), (2, (1650, 540)), (5, (1650, 1620))])
def test_each_sweep_has_a_panel_two_a_row(num_sweeps: int, size: tuple[int, int]) -> None:
    assert png_size(plot_sweeps({"main": [sweep(f"sweep_{place}") for place in range(num_sweeps)]}, VAL)) == size


def test_each_checkpoint_is_a_line_of_its_own_colour() -> None:
    png = plot_robustness({f"step {step}": robustness(0.1 + step / 1000) for step in range(0, 600, 100)})
    assert all(num_pixels(png, color) > 300 for color in PALETTE[:6])
    assert num_pixels(png, PALETTE[6]) == 0


def test_a_sweep_that_only_one_line_has_is_drawn_for_that_one() -> None:
    both = plot_sweeps({"a": [sweep("jpeg")], "b": [sweep("jpeg", 0.5), sweep("blur", 0.5)]}, VAL)
    without = plot_sweeps({"a": [sweep("jpeg")], "b": [sweep("jpeg", 0.5)]}, VAL)
    assert num_pixels(both, PALETTE[1]) > num_pixels(without, PALETTE[1]) + 300
    assert abs(num_pixels(both, PALETTE[0]) - num_pixels(without, PALETTE[0])) < 300


def test_the_unperturbed_figure_and_standard_errors_add_ink() -> None:
    plain, unperturbed, errors = (
        num_pixels(plot_sweeps({"main": [given]}, VAL), PALETTE[0])
        for given in (sweep(), sweep(unperturbed=0.95), sweep(error=0.1))
    )
    assert unperturbed > plain + 200
    assert errors > plain + 100


def test_results_at_different_rates_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match=r"one false accept rate are needed, not .*1e-02.*1e-03"):
        plot_robustness({"a": robustness(), "b": robustness(far=1e-2)})
