"""Which characters the fonts that matplotlib ships can draw, and in how many faces."""

import functools
import hashlib
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from pipeline.config import GlyphsConfig

# LastResort draws the name of a block, not the character. The Computer Modern fonts (cm*) carry TeX's own
# encodings under a Unicode label: there "<" is an inverted exclamation mark, "|" a dash, and most of cmsy10,
# cmmi10 and cmex10 are other symbols altogether. Without them no character drops below ten faces.
EXCLUDED_PREFIXES = ("LastResort", "cm")


@dataclass(frozen=True, slots=True)
class Character:
    """A label of the glyph corpus: a character and the names of the fonts that draw it."""

    code: int
    fonts: tuple[str, ...]

    @property
    def label(self) -> str:
        """``U+0041 LATIN CAPITAL LETTER A``: look-alikes of different scripts stay apart, on purpose."""
        return f"U+{self.code:04X} {unicodedata.name(chr(self.code), '')}".rstrip()


@dataclass(frozen=True, slots=True)
class Ink:
    """A drawn character cut to its ink.

    Attributes:
        mask: Coverage, mode L.
        left: Of the ink, in pixels right of the pen.
        top: Of the ink, in pixels below the baseline (so mostly negative).
    """

    mask: Image.Image
    left: int
    top: int


def draw_ink(font: ImageFont.FreeTypeFont, character: str) -> Ink | None:
    """Draws one character; None where nothing shows, as for spaces."""
    left, top, right, bottom = (round(edge) for edge in font.getbbox(character, anchor="ls"))
    if right <= left or bottom <= top:
        return None
    canvas = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(canvas).text((-left, -top), character, fill=255, font=font, anchor="ls")
    box = canvas.getbbox()
    if box is None:
        return None
    return Ink(canvas.crop(box), left + box[0], top + box[1])


@functools.cache
def font_files() -> dict[str, Path]:
    """The usable fonts by name, sorted."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = sorted(folder.glob("*.ttf"))
    return {file.stem: file for file in files if not file.stem.startswith(EXCLUDED_PREFIXES)}


def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Loads a font at a size in pixels; the basic layout draws the same with and without libraqm."""
    return ImageFont.truetype(font_files()[name], size, layout_engine=ImageFont.Layout.BASIC)


def draw_key(seed: int, code: int, font: str = "") -> int:
    """A number for one character (in one font) that depends on nothing else, to seed and to draw lots."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{code}/{font}".encode()).digest()[:16])


def choose_characters(config: GlyphsConfig) -> list[Character]:
    """Draws lots, by seed, for the labels and their faces.

    Returns:
        By code point, the characters that ``min_faces`` fonts or more draw, each with ``max_faces`` or fewer.
    """
    fonts = {name: load_font(name, 32) for name in font_files()}
    mapped: dict[int, list[str]] = defaultdict(list)
    for name, file in font_files().items():
        with TTFont(file, lazy=True) as font:
            for code in font.getBestCmap():
                mapped[code].append(name)
    codes = [code for code, names in mapped.items() if len(names) >= config.min_faces and _is_visible(code)]
    if config.max_labels is not None:
        codes.sort(key=lambda code: draw_key(config.seed, code))
    chosen: list[Character] = []
    for code in codes:
        if len(chosen) == config.max_labels:
            break
        names = [name for name in mapped[code] if draw_ink(fonts[name], chr(code))]
        if len(names) >= config.min_faces:
            names.sort(key=lambda name: draw_key(config.seed, code, name))
            chosen.append(Character(code, tuple(sorted(names[: config.max_faces]))))
    return sorted(chosen, key=lambda character: character.code)


def _is_visible(code: int) -> bool:
    """Leaves out controls, format characters and private use, which means something else in each font."""
    return not unicodedata.category(chr(code)).startswith("C")
