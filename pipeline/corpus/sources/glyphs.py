"""The embedded corpus: characters drawn from fonts, each face a little shifted, turned, blurred and noisy."""

import functools
import io
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter, ImageFont

from pipeline.config import GlyphsConfig
from pipeline.corpus.payloads import IMAGE
from pipeline.corpus.sources.glyph_faces import (
    Character,
    Ink,
    choose_characters,
    draw_ink,
    draw_key,
    load_font,
    merge_identical,
)
from pipeline.corpus.sources.items import Item, Rejected
from pipeline.errors import InputError

OVERSAMPLING = 2
"""Drawn and warped at this multiple of the image size, then averaged down."""

# Shares of the image's side. One size and one baseline for all, as on a page: a comma stays apart from an
# apostrophe and a capital O from a small one. Only what reaches into the border is moved or shrunk.
FONT_SIZE = 0.7
BASELINE = 0.72
BORDER = 0.1

MAX_SHIFT = 0.06
MAX_ROTATION_DEG = 8.0
MAX_BLUR = 0.02
MAX_NOISE = 0.06
"""Standard deviation of the noise, as a share of white."""


class Glyphs:
    """Characters as identities and fonts as their faces: PNG, grey, white ink on black.

    An image is a pure function of (seed, character, font, size): it does not depend on what else is drawn. Merging
    look-alikes gives some images another label, and changes nothing else: images, paths and their order stay.
    """

    payload = IMAGE
    description = "glyphs of the fonts in matplotlib"

    def __init__(self, config: GlyphsConfig) -> None:
        self._config = config

    @property
    def num_entries(self) -> int:
        """Images in all."""
        return sum(len(character.fonts) for character in self._characters)

    @functools.cached_property
    def _characters(self) -> list[Character]:
        characters = choose_characters(self._config)
        if not characters:
            raise InputError(
                f"no character is drawn by {self._config.min_faces} of matplotlib's fonts: "
                f"lower corpus.source.glyphs.min_faces"
            )
        return characters

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Yields all faces of one character after the other, by code point, then by font name."""
        font_size = round(self._config.image_size * OVERSAMPLING * FONT_SIZE)
        labels = {character.code: character.label for character in self._characters}
        if self._config.merge_identical:
            labels = merge_identical(self._characters, font_size)
        names = {name for character in self._characters for name in character.fonts}
        fonts = {name: load_font(name, font_size) for name in names}
        for character in self._characters:
            for name in character.fonts:
                content = draw_face(fonts[name], character.code, name, self._config)
                yield Item(labels[character.code], content, f"glyphs/U+{character.code:04X}/{name}.png")


def draw_face(font: ImageFont.FreeTypeFont, code: int, name: str, config: GlyphsConfig) -> bytes:
    """Draws one example.

    Args:
        font: The font, at ``image_size * OVERSAMPLING * FONT_SIZE`` pixels.
        code: The character's code point.
        name: The font's name, part of the key of the random numbers.
        config: Size and seed.

    Returns:
        A PNG, ``image_size`` square, grey.
    """
    ink = draw_ink(font, chr(code))
    if ink is None:
        raise InputError(f"font {name} draws nothing for U+{code:04X}")
    rng = np.random.default_rng(draw_key(config.seed, code, name))
    side = config.image_size * OVERSAMPLING
    canvas = _place(ink, side, rng).filter(ImageFilter.GaussianBlur(rng.uniform(0, MAX_BLUR) * side))
    small = np.asarray(canvas.reduce(OVERSAMPLING), dtype=np.float32)
    noise = rng.standard_normal(small.shape, dtype=np.float32) * np.float32(rng.uniform(0, MAX_NOISE) * 255)
    pixels = np.clip(small + noise, 0, 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _place(ink: Ink, side: int, rng: np.random.Generator) -> Image.Image:
    """Warps the ink once, onto a black square: fitted between borders, then shifted and turned a little."""
    width, height = ink.mask.size
    border = BORDER * side
    scale = min(1.0, (side - 2 * border) / max(width, height))
    half = height * scale / 2
    on_baseline = BASELINE * side + (ink.top + height / 2) * scale
    shift_x, shift_y = rng.uniform(-MAX_SHIFT, MAX_SHIFT, size=2) * side
    centre_x = side / 2 + shift_x
    centre_y = min(max(on_baseline, border + half), side - border - half) + shift_y
    angle = math.radians(rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG))
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    # Pillow wants the way back: where in the ink an output pixel comes from.
    to_ink = (
        cos, sin, width / 2 - cos * centre_x - sin * centre_y,
        -sin, cos, height / 2 + sin * centre_x - cos * centre_y,
    )  # fmt: skip
    return ink.mask.transform((side, side), Image.Transform.AFFINE, to_ink, Image.Resampling.BILINEAR)
