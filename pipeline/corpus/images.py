"""Encoded images: which are accepted, and their pixels."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""Decoders that may touch a user's bytes. Of an animation the first frame is taken."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif"})
"""Names that claim to be an image (lower case); anything else in a folder is a stray file."""

# Pillow has no common base for what broken bytes raise: these are what its decoders of FORMATS use.
DECODE_ERRORS = (OSError, SyntaxError, ArithmeticError, ValueError, EOFError, LookupError, struct.error, zlib.error)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Above these an image is rejected before it is decoded."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why bytes are not accepted as an image."""

    reason: str
    detail: str


def size_fault(num_bytes: int, limits: ImageLimits) -> Fault | None:
    """Judges an encoded size, so that what is too large need not be read at all."""
    if num_bytes <= limits.max_bytes:
        return None
    return Fault("too_large", f"{num_bytes} bytes, more than max_image_bytes {limits.max_bytes}")


def find_fault(content: bytes, limits: ImageLimits) -> Fault | None:
    """Tells what is wrong with an encoded image, or None once all of it was decoded.

    The size in the header is judged first: a decompression bomb is turned away without being decoded.
    """
    if fault := size_fault(len(content), limits):
        return fault
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > limits.max_pixels:
                    found = f"{image.width}x{image.height} pixels"
                    return Fault("too_large", f"{found}, more than max_image_pixels {limits.max_pixels}")
                to_upright_eight_bits(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        return Fault("too_large", str(error))
    except DECODE_ERRORS as error:
        return Fault("undecodable", f"{type(error).__name__}: {error}")
    return None


def to_upright_eight_bits(image: Image.Image) -> Image.Image:
    """Decodes an opened image into what a person sees: upright, 8 bits a channel, on white where transparent.

    Cameras store a photo as the sensor lay, and in a tag how to turn it. Pillow's own conversion clips 16-bit
    grey to white, and shows whatever colour lies under transparent pixels.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # of FORMATS only PNG has these modes, and only for 16 bits
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image
