"""From an encoded image to the array that an encoder takes."""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.config import TransformConfig
from pipeline.corpus.images import DECODE_ERRORS, FORMATS, to_upright_eight_bits
from pipeline.errors import InputError

Alter = Callable[[Image.Image], Image.Image]
"""Given the cropped image (mode L or RGB, 8 bits) before it is resized, returns the one to go on with."""


class Transform:
    """Decodes, turns upright, crops the centre, resizes and scales an image."""

    def __init__(self, config: TransformConfig) -> None:
        self._config = config

    def __call__(self, content: bytes, /, alter: Alter | None = None) -> npt.NDArray[np.float32]:
        """Returns float32 (C, H, W) in [-1, 1], black to white.

        Raises:
            InputError: The bytes are no image that can be decoded.
        """
        cropped = self.view(content)
        return self._scale(alter(cropped) if alter else cropped)

    def view(self, content: bytes) -> Image.Image:
        """The part of an image that the encoder sees, at its own size: mode L or RGB, 8 bits.

        Raises:
            InputError: The bytes are no image that can be decoded.
        """
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as encoded:
                image = to_upright_eight_bits(encoded)
        except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
            raise InputError(
                f"an image of {len(content)} bytes cannot be decoded ({error}): jobs.prepare leaves such out"
            ) from error
        return self._crop(image.convert("L" if self._config.channels == 1 else "RGB"))

    def _crop(self, image: Image.Image) -> Image.Image:
        """The central share of each side."""
        width, height = (max(1, round(side * self._config.crop)) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))

    def _scale(self, cropped: Image.Image) -> npt.NDArray[np.float32]:
        """An image of the encoder's channels, brought to its size and range."""
        config = self._config
        # Cropped before, as resize(box=...) lets pixels outside the box in. Pillow widens the bilinear
        # filter when it shrinks, so nothing aliases.
        resized = cropped.resize((config.width, config.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized, dtype=np.float32).reshape(config.height, config.width, config.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) / np.float32(127.5) - np.float32(1.0))
