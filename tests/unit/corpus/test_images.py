import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.corpus.images import FORMATS, ImageLimits, find_fault
from tests.unit.corpus.samples import LIMITS, encode, png

SEEDS = {kind: encode(Image.new("RGB", (24, 24), "teal"), kind) for kind in FORMATS}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_accepted_format_passes(kind: str) -> None:
    assert find_fault(SEEDS[kind], LIMITS) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", png()[:120], encode(Image.new("L", (8, 8)), "TIFF")],
    ids=["empty", "text", "cut off", "format outside the list"],
)
def test_what_is_no_image_of_an_accepted_format_is_undecodable(content: bytes) -> None:
    fault = find_fault(content, LIMITS)
    assert fault is not None and fault.reason == "undecodable"


def test_limits_are_inclusive_and_named_when_passed() -> None:
    image = png(size=8)
    assert find_fault(image, ImageLimits(max_bytes=len(image), max_pixels=64)) is None
    by_bytes = find_fault(image, ImageLimits(max_bytes=len(image) - 1, max_pixels=64))
    by_pixels = find_fault(image, ImageLimits(max_bytes=len(image), max_pixels=63))
    for fault, setting in ((by_bytes, "max_image_bytes"), (by_pixels, "max_image_pixels")):
        assert fault is not None and fault.reason == "too_large" and setting in fault.detail


@pytest.mark.parametrize("side", [10_000, 20_000], ids=["Pillow warns", "Pillow refuses"])
def test_decompression_bomb_is_too_large_and_never_decoded(side: int) -> None:
    bomb = encode(Image.new("1", (side, side)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fault = find_fault(bomb, LIMITS)
    assert fault is not None and fault.reason == "too_large"


@settings(max_examples=300)
@given(
    kind=st.sampled_from(FORMATS),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.floats(0.05, 1),
)
def test_damaged_images_are_judged_and_never_crash(kind: str, edits: list[tuple[float, int]], keep: float) -> None:
    content = np.frombuffer(SEEDS[kind], np.uint8).copy()
    for place, value in edits:
        content[int(place * len(content))] = value
    fault = find_fault(content[: int(keep * len(content))].tobytes(), LIMITS)
    assert fault is None or fault.reason in ("undecodable", "too_large")
