"""Names in plots: of any script and any length, shortened to the width at hand."""

import bisect
import functools
import re
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font, get_font_names
from matplotlib.textpath import text_to_path

# Name of each label code: a list, as a corpus has it, or a dictionary.
Names = Mapping[int, str] | Sequence[str]

# Those that are installed are used; DejaVu Sans comes with matplotlib and lacks the scripts of the others.
CANDIDATES = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "WenQuanYi Micro Hei",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)
MAX_CHARACTERS = 200
# Rendered letters stand on whole pixels, and may be wider than they were designed.
HINTING = 1.05
# A name may be broken into lines here.
BREAKS = re.compile(r"(?<=[\s_\-./])")


@functools.cache
def font_families() -> list[str]:
    """The installed font families for names: a character comes from the first family that has it."""
    return [family for family in CANDIDATES if family in get_font_names()]


def use_font_families(axes: Axes) -> None:
    """Lets the title and the legend take their characters from all of ``font_families``."""
    legend = axes.get_legend()
    for text in (axes.title, *(legend.get_texts() if legend else ())):
        text.set_fontfamily(font_families())


def shorten_to_width(name: str, width: float, size: float, weight: str = "normal") -> str:
    """A name in one line, ready for matplotlib: a long one loses its middle.

    A character that no font has is written as its code point (U+738B).

    Args:
        name: As the corpus, or the user, has it.
        width: In inches.
        size: Font size in points.
        weight: Font weight.
    """
    return _escape(_shorten(_renderable(name), width, FontProperties(family=font_families(), size=size, weight=weight)))


def wrap_to_width(name: str, width: float, size: float, num_lines: int) -> str:
    """The same in at most ``num_lines`` lines, broken after a space, an underscore, a hyphen, a dot or a slash."""
    font = FontProperties(family=font_families(), size=size)
    lines = [""]
    for word in BREAKS.split(_renderable(name)):
        is_last = len(lines) == num_lines
        if not is_last and lines[-1] and _text_width(lines[-1] + word.rstrip(), font) > width:
            lines.append(word)
        else:
            lines[-1] += word
    return "\n".join(_escape(_shorten(line.rstrip(), width, font)) for line in lines)


def _renderable(name: str) -> str:
    text = " ".join(
        "".join(char if char.isspace() or _has_glyph(char) else f" U+{ord(char):04X} " for char in name).split()
    )
    if len(text) > MAX_CHARACTERS:
        text = f"{text[: MAX_CHARACTERS // 2]}…{text[-MAX_CHARACTERS // 2 :]}"
    return text


@functools.lru_cache(10_000)
def _has_glyph(char: str) -> bool:
    return any(get_font(findfont(family)).get_char_index(ord(char)) for family in font_families())


def _shorten(text: str, width: float, font: FontProperties) -> str:
    if _text_width(text, font) <= width:
        return text
    shortened = [f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}" for kept in range(len(text))]
    return shortened[max(0, bisect.bisect(shortened, width, key=lambda short: _text_width(short, font)) - 1)]


def _text_width(text: str, font: FontProperties) -> float:
    """In inches."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72 * HINTING


def _escape(text: str) -> str:
    """Escapes dollars, which begin formulas; and underscores at the front, since a legend leaves such names out."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
