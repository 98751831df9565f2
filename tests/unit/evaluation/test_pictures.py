import io
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.evaluation.pictures import draw_verification
from pipeline.evaluation.verification import Verification, verify
from tests.unit.evaluation.samples import unit_vectors


def verification(noise: float) -> Verification:
    return verify(*unit_vectors(200, 20, noise, seed=0), max_pairs=10_000, seed=0)


def pixels(png: bytes) -> npt.NDArray[np.int16]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def test_the_picture_is_a_png_of_the_documented_size() -> None:
    image = Image.open(io.BytesIO(draw_verification({"step 300": verification(0.5)})))
    assert image.format == "PNG"
    assert image.size == (1650, 780)


def test_the_same_results_give_the_same_picture() -> None:
    results = {"untrained": verification(2.0), "step 300": verification(0.5)}
    assert draw_verification(results) == draw_verification(results)


def test_an_earlier_result_is_drawn_into_the_roc_panel_only() -> None:
    last = verification(0.5)
    alone = pixels(draw_verification({"step 300": last}))
    both = pixels(draw_verification({"untrained": verification(2.0), "step 300": last}))
    # Legends lie below the panels and shift them a little: compare how much ink of the earlier curve there is.
    grey = np.array([0x8C, 0x96, 0xA3])
    ink = [(np.abs(picture - grey).max(axis=2) < 12) for picture in (alone, both)]
    middle = alone.shape[1] // 2
    assert ink[1][:, :middle].sum() > ink[0][:, :middle].sum() + 300
    assert abs(int(ink[1][:, middle:].sum()) - int(ink[0][:, middle:].sum())) < 100


def test_a_marked_rate_changes_the_picture() -> None:
    results = {"step 300": verification(0.5)}
    assert draw_verification(results, far=1e-3) != draw_verification(results, far=1e-2)


@pytest.mark.parametrize("distances", [([1.0], [1.0]), ([0.0, 0.0], [0.0]), ([0.5], [2.0, 2.0])])
def test_degenerate_distances_are_drawn(distances: tuple[list[float], list[float]]) -> None:
    same, different = (np.array(values, dtype=np.float32) for values in distances)
    assert draw_verification({"odd": Verification(same, different)}).startswith(b"\x89PNG")


def test_pyplot_and_its_global_state_are_left_out() -> None:
    code = "import sys, pipeline.evaluation.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_to_draw_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no result"):
        draw_verification({})
