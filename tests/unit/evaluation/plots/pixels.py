"""What a test can see of a picture."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.plotting import PALETTE


def pixels(png: bytes) -> npt.NDArray[np.int16]:
    """(height, width, 3)."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(np.int16)


def png_size(png: bytes) -> tuple[int, int]:
    """(width, height)."""
    height, width, _ = pixels(png).shape
    return width, height


def num_pixels(png: bytes, color: str) -> int:
    """Pixels of about this colour."""
    return amount(pixels(png), color)


def amount(picture: npt.NDArray[np.int16], color: str) -> int:
    """Pixels of about this colour."""
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return int((np.abs(picture - np.array(wanted)).max(axis=2) < 12).sum())


def palette_colors(picture: npt.NDArray[np.int16], at_least: int = 30) -> set[str]:
    """Colours of the palette that something is drawn in."""
    return {color for color in PALETTE if amount(picture, color) >= at_least}


def ink_at_the_edge(picture: npt.NDArray[np.int16]) -> bool:
    """Whether something leaves the picture, or would if it went on."""
    edge = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    sides = np.concatenate([picture[:, :2].reshape(-1, 3), picture[:, -2:].reshape(-1, 3)])
    return bool((np.concatenate([edge, sides]) < 200).any())
