"""Perturbations of images, under which a network is evaluated (FaceNet, section 5.3, and further kinds).

An image is perturbed after it was cropped and before it is resized for the network: the paper's inputs are face crops
too, so that a value describes the network's input, whatever the margin round the crop. A crop of more pixels survives
the same JPEG quality or noise better, since resizing evens them out.
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from pipeline.config import RobustnessConfig
from pipeline.evaluation.sweep import value_name

OCCLUSION_GREY = 128
"""Grey level of the occluding rectangle: the middle of the network's range."""


@dataclass(frozen=True)
class Perturbation:
    """A deterministic perturbation of an image; hashable and picklable.

    Attributes:
        sweep: ``jpeg`` (quality), ``size`` (side in pixels), ``blur`` (standard deviation in hundredths of the side),
            ``occlusion`` (share of the area) or ``noise`` (standard deviation in grey levels of 255).
        value: In the unit of the sweep.
    """

    sweep: str
    value: float

    def __post_init__(self) -> None:
        if self.sweep not in _FUNCTIONS:
            raise ValueError(f"no sweep {self.sweep!r}: choose one of {', '.join(_FUNCTIONS)}")

    @property
    def name(self) -> str:
        """Such as ``jpeg_10``: part of the names of metrics, different for different perturbations."""
        return f"{self.sweep}_{value_name(self.value)}"

    def apply(self, image: Image.Image, seed: int) -> Image.Image:
        """Perturbs a copy of a decoded image.

        Args:
            image: Cropped, upright, mode L or RGB.
            seed: Such as the example's id: places the occlusion, and draws the noise. Two values of a sweep with the
                same seed differ in their strength only.

        Returns:
            An image of the same size and mode.

        Raises:
            ValueError: An image of another mode.
        """
        if image.mode not in ("L", "RGB"):
            raise ValueError(f"an image of mode {image.mode} cannot be perturbed: convert it to L or RGB first")
        return _FUNCTIONS[self.sweep](image, self.value, seed)


def perturbation_sweeps(config: RobustnessConfig) -> dict[str, tuple[Perturbation, ...]]:
    """The perturbations of each sweep to which the config gives values, ascending."""
    values: dict[str, tuple[float, ...]] = {
        "jpeg": config.jpeg_qualities,
        "size": config.image_sizes,
        "blur": config.blur_radii,
        "occlusion": config.occlusions,
        "noise": config.noise_levels,
    }
    return {
        sweep: tuple(Perturbation(sweep, float(value)) for value in sorted(set(given)))
        for sweep, given in values.items()
        if given
    }


def _encode_jpeg(image: Image.Image, quality: float, seed: int) -> Image.Image:
    """Encodes as JPEG, with Pillow's tables and subsampling, and decodes again."""
    payload = io.BytesIO()
    image.save(payload, "JPEG", quality=int(quality))
    with Image.open(payload, formats=("JPEG",)) as perturbed:
        perturbed.load()
        return perturbed


def _reduce(image: Image.Image, side: float, seed: int) -> Image.Image:
    """Reduces to side² pixels in the image's own shape, and enlarges again; smaller images stay as they are."""
    scale = side / _mean_side(image)
    if scale >= 1:
        return image.copy()
    width, height = (max(1, round(length * scale)) for length in image.size)
    reduced = image.resize((width, height), Image.Resampling.BILINEAR)
    return reduced.resize(image.size, Image.Resampling.BILINEAR)


def _blur(image: Image.Image, hundredths: float, seed: int) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(hundredths / 100 * _mean_side(image)))


def _occlude(image: Image.Image, share: float, seed: int) -> Image.Image:
    """Pastes a grey rectangle of the image's own shape (a square on a square) into it, wholly within the image.

    With the same seed, a larger rectangle covers all that a smaller one covers.
    """
    corner, size = [], []
    for length, offset in zip(image.size, np.random.default_rng(seed).random(2), strict=True):
        size.append(max(1, round(length * math.sqrt(share))))
        corner.append(int(offset * (length - size[-1] + 1)))
    perturbed = image.copy()
    grey = Image.new("L", (size[0], size[1]), OCCLUSION_GREY).convert(image.mode)
    perturbed.paste(grey, (corner[0], corner[1]))
    return perturbed


def _add_noise(image: Image.Image, grey_levels: float, seed: int) -> Image.Image:
    """Adds noise to each channel of each pixel, rounded and cut off at black and white."""
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32)
    perturbed = np.rint(pixels + np.float32(grey_levels) * noise).clip(0, 255)
    return Image.fromarray(perturbed.astype(np.uint8))


def _mean_side(image: Image.Image) -> float:
    """The side of the square with as many pixels."""
    return math.sqrt(image.width * image.height)


_FUNCTIONS: Mapping[str, Callable[[Image.Image, float, int], Image.Image]] = {
    "jpeg": _encode_jpeg,
    "size": _reduce,
    "blur": _blur,
    "occlusion": _occlude,
    "noise": _add_noise,
}
