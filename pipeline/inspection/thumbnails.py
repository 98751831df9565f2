"""Small pictures of examples, as data: URIs that a page can hold."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

MAX_SIDE = 96
PIXEL_SIDE = 48
"""Up to this side, a picture is shown larger than it is: pixel by pixel, and grey ones without loss."""
_TRIES = ((MAX_SIDE, 80), (MAX_SIDE, 50), (64, 60), (48, 50), (32, 50), (24, 30), (16, 20), (8, 0))
"""Side and quality of WebP, until a picture fits its share of the page."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture in a page.

    Attributes:
        uri: ``data:image/…;base64,…``.
        width: In pixels.
        height: In pixels.
        is_pixelated: Whether its pixels are to be seen.
    """

    uri: str
    width: int
    height: int
    is_pixelated: bool


def thumbnail(image: Image.Image, max_chars: int) -> Thumbnail:
    """A picture of at most 96 pixels a side: PNG for small grey ones, else WebP.

    Args:
        image: Mode L or RGB.
        max_chars: Length that the URI must not pass; quality and size give way, down to 8 pixels a side.
    """
    is_pixelated = max(image.size) <= PIXEL_SIDE
    if is_pixelated and image.mode == "L":
        uri = _uri(image, "PNG", optimize=True)
        if len(uri) <= max_chars:
            return Thumbnail(uri, image.width, image.height, is_pixelated)
    for side, quality in _TRIES:
        small = image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        uri = _uri(small, "WEBP", quality=quality, method=4)
        if len(uri) <= max_chars:
            break
    return Thumbnail(uri, small.width, small.height, is_pixelated)


def _uri(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
