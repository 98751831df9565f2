"""Thumbnails of images, as data: URIs for a page."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

MAX_SIDE = 96
PIXEL_SIDE = 48
"""Up to this side, an image is enlarged pixel by pixel, and a grey one is stored without loss."""
_ATTEMPTS = ((MAX_SIDE, 80), (MAX_SIDE, 50), (64, 60), (48, 50), (32, 50), (24, 30), (16, 20), (8, 0))
"""Sides and qualities of WebP to try until a thumbnail is short enough."""


@dataclass(frozen=True)
class Thumbnail:
    """An image in a page, as ``data:image/…;base64,…``; a pixelated one is enlarged pixel by pixel."""

    uri: str
    width: int
    height: int
    is_pixelated: bool


def make_thumbnail(image: Image.Image, max_chars: int) -> Thumbnail:
    """Reduces an image to at most 96 pixels a side: PNG for small grey ones, else WebP.

    Args:
        image: Mode L or RGB.
        max_chars: Greatest length of the URI; quality and size are reduced for it, down to 8 pixels a side.
    """
    is_pixelated = max(image.size) <= PIXEL_SIDE
    if is_pixelated and image.mode == "L":
        uri = _uri(image, "PNG", optimize=True)
        if len(uri) <= max_chars:
            return Thumbnail(uri, image.width, image.height, is_pixelated)
    for side, quality in _ATTEMPTS:
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
