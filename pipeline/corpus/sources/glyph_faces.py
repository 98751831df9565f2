"""Which characters the fonts that matplotlib ships can draw, and in how many faces."""

import functools
import hashlib
import itertools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
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
    """A label of the glyph corpus, or a part of one.

    Attributes:
        code: The code point.
        fonts: Names of the fonts that were chosen to draw it, sorted.
        drawn_by: Names of all usable fonts that can, sorted.
    """

    code: int
    fonts: tuple[str, ...]
    drawn_by: tuple[str, ...]

    @property
    def label(self) -> str:
        """``U+0041 LATIN CAPITAL LETTER A``: look-alikes of other scripts stay apart, unless they are merged."""
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
            lots = sorted(names, key=lambda name: draw_key(config.seed, code, name))
            chosen.append(Character(code, tuple(sorted(lots[: config.max_faces])), tuple(sorted(names))))
    return sorted(chosen, key=lambda character: character.code)


def merge_identical(characters: Sequence[Character], font_size: int) -> dict[int, str]:
    """Gives characters that look the same one label.

    Two are alike where more than half of the usable fonts that draw both draw the same ink at the same height (which
    tells a superscript from a subscript), and what is alike to the same third is alike. Neither the faces chosen nor
    the seed matter, only the characters given.

    Args:
        characters: In any order.
        font_size: In pixels, as the images are drawn: what differs only at a larger size is not told apart in them.

    Returns:
        Label by code point: the lowest one's own, and the code points of the rest, as in
        ``U+0041 LATIN CAPITAL LETTER A (and U+0391, U+0410)``.
    """
    # Of the 2,532 default characters, 269 pairs are identical in one font or more, 147 in more than half of the fonts
    # that they share, 67 in all. One is too few: in serif italics m is Cyrillic te, in monospace an en dash is an em
    # dash. All are too many: STIX hints even A and Alpha differently. Just half is too few still: the Planck constant,
    # an italic h in every font, is Cyrillic shha (which looks like h) in the italic half of them.
    times_alike: Counter[tuple[int, int]] = Counter()
    for name in font_files():
        font = load_font(name, font_size)
        codes_by_ink: dict[tuple[tuple[int, int], int, bytes], list[int]] = defaultdict(list)
        for character in characters:
            if name in character.drawn_by and (ink := draw_ink(font, chr(character.code))):
                digest = hashlib.sha256(ink.mask.tobytes()).digest()
                codes_by_ink[ink.mask.size, ink.top, digest].append(character.code)
        for codes in codes_by_ink.values():
            times_alike.update(itertools.combinations(codes, 2))
    by_code = {character.code: character for character in characters}
    groups = {code: [code] for code in by_code}
    for (one, other), times in times_alike.items():
        shared = set(by_code[one].drawn_by) & set(by_code[other].drawn_by)
        if 2 * times > len(shared) and groups[one] is not groups[other]:
            groups[one] += groups[other]
            for code in groups[other]:
                groups[code] = groups[one]
    return {code: _joint_label([by_code[member] for member in sorted(group)]) for code, group in groups.items()}


def _joint_label(group: Sequence[Character]) -> str:
    rest = ", ".join(f"U+{character.code:04X}" for character in group[1:])
    return f"{group[0].label} (and {rest})" if rest else group[0].label


def _is_visible(code: int) -> bool:
    """Leaves out controls, format characters and private use, which means something else in each font."""
    return not unicodedata.category(chr(code)).startswith("C")
