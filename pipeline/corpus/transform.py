"""From an encoded image to the array that an encoder takes."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.config import TransformConfig
from pipeline.corpus.images import DECODE_ERRORS, FORMATS, to_upright_eight_bits
from pipeline.errors import InputError


class Transform:
    """Decodes, turns upright, crops the centre, resizes and scales an image.

    Args:
        config: Size, channels and crop.

    Attributes:
        digest: Of the config: equal digests, equal arrays.
    """

    def __init__(self, config: TransformConfig) -> None:
        self._config = config
        self.digest = config.digest()

    def __call__(self, payload: bytes) -> npt.NDArray[np.float32]:
        """Returns float32 (C, H, W) in [-1, 1], black to white.

        Raises:
            InputError: The bytes are no image that can be decoded.
        """
        try:
            with Image.open(io.BytesIO(payload), formats=FORMATS) as encoded:
                image = to_upright_eight_bits(encoded)
        except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
            raise InputError(
                f"an image of {len(payload)} bytes cannot be decoded ({error}): jobs.prepare leaves such out"
            ) from error
        return self._to_array(image)

    def _to_array(self, image: Image.Image) -> npt.NDArray[np.float32]:
        config = self._config
        image = image.convert("L" if config.channels == 1 else "RGB")
        width, height = (max(1, round(side * config.crop)) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        # Cropped before, as resize(box=...) lets pixels outside the box in. Pillow widens the bilinear
        # filter when it shrinks, so nothing aliases.
        cropped = image.crop((left, top, left + width, top + height))
        resized = cropped.resize((config.width, config.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized, dtype=np.float32).reshape(config.height, config.width, config.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) / np.float32(127.5) - np.float32(1.0))
