from pipeline.config import RecognitionConfig
from pipeline.evaluation.identification.plot import plot_identification
from pipeline.evaluation.identification.protocol import IdentificationReport, evaluate_identification
from tests.unit.evaluation.plots.pixels import png_size
from tests.unit.evaluation.samples import unit_vectors


def report(noise: float, num_labels: int = 30) -> IdentificationReport:
    return evaluate_identification(*unit_vectors(200, num_labels, noise, seed=0), RecognitionConfig(), seed=0)


def test_the_picture_is_a_png_of_the_documented_size() -> None:
    assert png_size(plot_identification({"step 300": report(0.5)})) == (1650, 780)


def test_each_further_result_makes_room_for_its_line_of_the_legend() -> None:
    names = [f"step {step}" for step in range(12)]
    assert png_size(plot_identification(dict.fromkeys(names, report(0.5)))) == (1650, 780 + 10 * 27)


def test_a_gallery_of_two_and_galleries_of_different_sizes_are_drawn() -> None:
    assert plot_identification({"$odd_": report(0.5, 2), "step 300": report(0.5)}).startswith(b"\x89PNG")
    assert plot_identification({"two": report(0.5, 2)}).startswith(b"\x89PNG")
