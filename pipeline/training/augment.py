"""Random changes of a training image that leave its label as it is; mining and evaluation never see them.

C, H, W: channels, height and width of an image.
"""

import numpy as np
import numpy.typing as npt

from pipeline.config import AugmentConfig
from pipeline.errors import InputError

Image = npt.NDArray[np.float32]

SMALLEST_COVER, LARGEST_COVER = 1 / 8, 1 / 3
"""Of each side."""


class Augment:
    """Mirrors, shifts, relights and covers images, by draws that depend on seed, step and example alone.

    So a resumed run sees the images that it would have seen.
    """

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        self._config, self._seed = config, seed

    def __call__(self, image: Image, step: int, example_id: int) -> Image:
        """The changed image, (C, H, W) float32 in [-1, 1]; the one that was given stays as it is.

        Raises:
            InputError: It is no image.
        """
        if image.ndim != 3:
            raise InputError("training.augment changes images, and this corpus holds vectors: leave it out")
        config, rng = self._config, np.random.default_rng((self._seed, step, example_id))
        # Every draw is made whatever the config says, so that one setting does not move what another draws.
        is_mirrored = rng.random() < config.mirror
        y, x = rng.uniform(-config.shift, config.shift, 2)
        gain, lift = rng.uniform(-config.light, config.light, 2)
        is_covered, box = rng.random() < config.cover, rng.random(4)
        if is_mirrored:
            image = image[:, :, ::-1]
        image = _shifted(image, y, x)
        if config.light:
            image = np.clip(image * np.float32(1 + gain) + np.float32(lift), -1.0, 1.0)
        if is_covered:
            _cover(image, box)
        return image


def _shifted(image: Image, y: float, x: float) -> Image:
    """A copy, moved by shares of its sides; the edge is repeated into what falls empty."""
    height, width = image.shape[1:]
    rows = np.clip(np.arange(height) + round(y * height), 0, height - 1)
    columns = np.clip(np.arange(width) + round(x * width), 0, width - 1)
    shifted: Image = image[:, rows[:, None], columns]
    return shifted


def _cover(image: Image, box: npt.NDArray[np.float64]) -> None:
    """Greys a rectangle in place ("random erasing", Zhong et al. 2020, arXiv 1708.04896)."""
    height, width = image.shape[1:]
    shares = SMALLEST_COVER + box[:2] * (LARGEST_COVER - SMALLEST_COVER)
    rows, columns = max(1, round(height * shares[0])), max(1, round(width * shares[1]))
    top, left = int(box[2] * (height - rows + 1)), int(box[3] * (width - columns + 1))
    image[:, top : top + rows, left : left + columns] = 0.0


def make_augment(config: AugmentConfig, seed: int) -> Augment | None:
    """What a config asks for; None where it changes nothing."""
    return Augment(config, seed) if config.changes else None
