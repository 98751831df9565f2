from pipeline.config import RecognitionConfig
from pipeline.evaluation.recognition.plot import plot_recognition
from pipeline.evaluation.recognition.protocol import RecognitionReport, evaluate_recognition
from tests.unit.evaluation.plots.pixels import png_size
from tests.unit.evaluation.samples import unit_vectors


def report(noise: float, **config: object) -> RecognitionReport:
    checked = RecognitionConfig.model_validate({"num_folds": 3, **config})
    return evaluate_recognition(*unit_vectors(100, 10, noise, seed=0), checked, seed=0)


def test_the_picture_is_a_png_of_the_documented_width() -> None:
    assert png_size(plot_recognition({"step 300": report(0.5)}))[0] == 1200


def test_results_with_different_classifiers_are_drawn_side_by_side() -> None:
    results = {"_a": report(0.5, num_neighbours=(1,)), "b": report(0.5, svm_kernels=("rbf",))}
    assert plot_recognition(results).startswith(b"\x89PNG")


def test_many_results_are_drawn() -> None:
    assert plot_recognition({f"step {step}": report(0.5) for step in range(12)}).startswith(b"\x89PNG")
