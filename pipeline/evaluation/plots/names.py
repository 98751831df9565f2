"""Names in pictures: of any script, of any length, in the room that there is for them."""

import bisect
import functools
import re
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font, get_font_names
from matplotlib.textpath import text_to_path

# Name of each label code: a list, as a corpus has it, or a dictionary.
Names = Mapping[int, str] | Sequence[str]

# Of these, the ones that are installed; DejaVu Sans comes with matplotlib and lacks the scripts of the others.
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
# Drawn letters stand on whole pixels, and may be wider than they were designed.
HINTING = 1.05
# Where a name may go on in the next line.
BREAKS = re.compile(r"(?<=[\s_\-./])")


@functools.cache
def families() -> list[str]:
    """Font families for names: a character comes from the first that has it."""
    return [family for family in CANDIDATES if family in get_font_names()]


def use_all_fonts(axes: Axes) -> None:
    """Lets the title and the legend take their characters from all of ``families``."""
    legend = axes.get_legend()
    for text in (axes.title, *(legend.get_texts() if legend else ())):
        text.set_fontfamily(families())


def fit(name: str, width: float, size: float, weight: str = "normal") -> str:
    """A name in one line, ready for matplotlib: a long one loses its middle.

    A character that no font has is written as its code point (U+738B).

    Args:
        name: As the corpus, or the user, has it.
        width: Room in inches.
        size: Font size in points.
        weight: Font weight.
    """
    return _escape(_cut(_drawable(name), width, FontProperties(family=families(), size=size, weight=weight)))


def fit_lines(name: str, width: float, size: float, num_lines: int) -> str:
    """The same in at most ``num_lines`` lines, broken after a space, an underscore, a hyphen, a dot or a slash."""
    font = FontProperties(family=families(), size=size)
    lines = [""]
    for word in BREAKS.split(_drawable(name)):
        is_last = len(lines) == num_lines
        if not is_last and lines[-1] and _inches(lines[-1] + word.rstrip(), font) > width:
            lines.append(word)
        else:
            lines[-1] += word
    return "\n".join(_escape(_cut(line.rstrip(), width, font)) for line in lines)


def _drawable(name: str) -> str:
    text = " ".join(
        "".join(char if char.isspace() or _has_glyph(char) else f" U+{ord(char):04X} " for char in name).split()
    )
    if len(text) > MAX_CHARACTERS:
        text = f"{text[: MAX_CHARACTERS // 2]}…{text[-MAX_CHARACTERS // 2 :]}"
    return text


@functools.lru_cache(10_000)
def _has_glyph(char: str) -> bool:
    return any(get_font(findfont(family)).get_char_index(ord(char)) for family in families())


def _cut(text: str, width: float, font: FontProperties) -> str:
    if _inches(text, font) <= width:
        return text
    shortened = [f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}" for kept in range(len(text))]
    return shortened[max(0, bisect.bisect(shortened, width, key=lambda shown: _inches(shown, font)) - 1)]


def _inches(text: str, font: FontProperties) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72 * HINTING


def _escape(text: str) -> str:
    """Dollars are no formulas; and a legend leaves out what begins with an underscore."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
