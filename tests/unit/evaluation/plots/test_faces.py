import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.evaluation.plots.faces import LabelledImages, plot_worst_pairs
from pipeline.evaluation.plots.worst import Pair
from tests.unit.evaluation.plots.pixels import amount, ink_at_the_edge, pixels

COLORS = ("#ff0000", "#00ff00", "#0000ff", "#ff00ff")
ACCEPT, REJECT = Pair(0, 1, 0, 1, 0.25), Pair(2, 3, 2, 2, 1.75)
NAMES = ["Ada", "Grace", "Mary"]


def image_of(example: int) -> Image.Image:
    return Image.new("RGB", (50, 50), COLORS[example])


IMAGES = LabelledImages(image_of, NAMES)


def test_false_accepts_are_on_the_left_and_false_rejects_on_the_right() -> None:
    picture = pixels(plot_worst_pairs([ACCEPT], [REJECT], IMAGES))
    middle = picture.shape[1] // 2
    for color, half in zip(COLORS, ("left", "left", "right", "right"), strict=True):
        here, there = picture[:, :middle], picture[:, middle:]
        wanted, other = (here, there) if half == "left" else (there, here)
        assert amount(wanted, color) > 10_000
        assert amount(other, color) == 0


def test_the_picture_is_as_high_as_its_pairs_need() -> None:
    heights = [len(pixels(plot_worst_pairs([ACCEPT] * n, [REJECT], IMAGES))) for n in (1, 2, 3, 8)]
    assert heights[0] == heights[1] < heights[2] < heights[3]


def test_a_threshold_says_what_it_does_with_each_pair() -> None:
    plain = plot_worst_pairs([ACCEPT], [REJECT], IMAGES)
    drawn = {threshold: plot_worst_pairs([ACCEPT], [REJECT], IMAGES, threshold) for threshold in (0.1, 1.0)}
    assert len({plain, *drawn.values()}) == 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (300, 20), (20, 300)])
def test_images_of_any_size_and_mode_are_drawn(mode: str, size: tuple[int, int]) -> None:
    images = LabelledImages(lambda _: Image.new(mode, size), NAMES)
    picture = pixels(plot_worst_pairs([ACCEPT], [], images))
    assert picture.shape == pixels(plot_worst_pairs([ACCEPT], [], IMAGES)).shape


@pytest.mark.parametrize("kinds", [((), ()), ((ACCEPT,), ()), ((), (REJECT,))])
def test_a_kind_without_pairs_is_no_error(kinds: tuple[tuple[Pair, ...], tuple[Pair, ...]]) -> None:
    assert not ink_at_the_edge(pixels(plot_worst_pairs(*kinds, IMAGES)))


def test_no_name_runs_into_another_or_out_of_the_picture() -> None:
    names = ["W" * 300, "王小明 " * 50, "a_name_of_many_words_" * 20]
    plain, picture = (
        pixels(plot_worst_pairs([ACCEPT] * 4, [REJECT] * 4, LabelledImages(image_of, given)))
        for given in (["", "", ""], names)
    )
    assert picture.shape == plain.shape
    assert not ink_at_the_edge(picture)
    # Left of the pairs, and between the two kinds, all stays white below the titles.
    is_white: npt.NDArray[np.bool_] = np.asarray((picture[110:] >= 250).all(axis=(0, 2)))
    middle = len(is_white) // 2
    assert is_white[:40].all()
    assert is_white[middle - 30 : middle + 30].all()
