import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.inspection.thumbnails import MAX_SIDE, Thumbnail, make_thumbnail

ROOMY = 10**6


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def decode(found: Thumbnail) -> Image.Image:
    head, _, content = found.uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert head == f"data:image/{(image.format or '').lower()}"
    assert image.size == (found.width, found.height)
    return image


def test_a_small_grey_picture_is_kept_to_the_pixel() -> None:
    image = noise(32, 20, "L")
    found = make_thumbnail(image, ROOMY)
    assert found.is_pixelated
    assert np.array_equal(np.asarray(decode(found)), np.asarray(image))


@pytest.mark.parametrize(("size", "expected"), [((400, 200), (96, 48)), ((100, 400), (24, 96)), ((96, 50), (96, 50))])
def test_a_large_picture_is_made_to_fit_and_keeps_its_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    found = make_thumbnail(noise(*size), ROOMY)
    assert (found.width, found.height) == expected
    assert not found.is_pixelated
    assert decode(found).format == "WEBP"


def test_a_small_picture_is_not_blown_up() -> None:
    found = make_thumbnail(noise(10, 12), ROOMY)
    assert decode(found).size == (10, 12)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("max_chars", [8000, 2000, 600, 300])
def test_no_picture_is_longer_than_it_may_be(mode: str, max_chars: int) -> None:
    for side in (8, 40, MAX_SIDE, 300):
        found = make_thumbnail(noise(side, side, mode), max_chars)
        decode(found)
        assert len(found.uri) <= max_chars


def test_the_given_picture_is_left_as_it_is() -> None:
    image = noise(300, 300)
    make_thumbnail(image, ROOMY)
    assert image.size == (300, 300)
