"""Plots the worst pairs: two images, their distance, the names of their labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from PIL import Image, ImageOps

from pipeline.evaluation.plots.names import Names, font_families, wrap_to_width
from pipeline.evaluation.plots.worst import Pair
from pipeline.plotting import DPI, GREY, INK, LABEL_SIZE, to_png

# In inches.
IMAGE_SIDE = 1.2
IMAGE_GAP = 0.06
PAIR_GAP = 0.3
MARGIN = 0.3
TEXT_HEIGHT = 0.68
HEADER_HEIGHT = 0.75
PAIRS_PER_ROW = 2
NUM_NAME_LINES = 2
PAIR_WIDTH = 2 * IMAGE_SIDE + IMAGE_GAP
BLOCK_WIDTH = PAIRS_PER_ROW * PAIR_WIDTH + (PAIRS_PER_ROW - 1) * PAIR_GAP
# Gap between the two kinds.
KIND_GAP = 0.7


@dataclass(frozen=True)
class LabelledImages:
    """The image of an example by its id, of any size and mode, and the names of the label codes."""

    image_of: Callable[[int], Image.Image]
    names: Names


@dataclass(frozen=True)
class _TextStyle:
    """Size in points, weight, and alignment to the text's place."""

    size: float = LABEL_SIZE
    weight: str = "normal"
    align: str = "center"


def plot_worst_pairs(
    false_accepts: Sequence[Pair],
    false_rejects: Sequence[Pair],
    images: LabelledImages,
    threshold: float | None = None,
) -> bytes:
    """Plots pairs of different labels on the left and pairs of one label on the right, in the order given.

    As FaceNet's figures 5 and 6 show its errors (Schroff et al. 2015).

    Args:
        false_accepts: See ``find_worst_pairs``; there may be none.
        false_rejects: The same.
        images: Of the examples.
        threshold: Where given, each pair also says whether a verifier with this threshold accepts it.

    Returns:
        A PNG, as high as its pairs need.
    """
    most = max(len(false_accepts), len(false_rejects), 1)
    num_rows = -(-most // PAIRS_PER_ROW)
    width = 2 * BLOCK_WIDTH + KIND_GAP + 2 * MARGIN
    figure = Figure(figsize=(width, HEADER_HEIGHT + num_rows * (IMAGE_SIDE + TEXT_HEIGHT)), dpi=DPI, facecolor="white")
    kinds = (
        ("Different labels, nearest", "the worst false accepts", false_accepts),
        ("One label, farthest", "the worst false rejects", false_rejects),
    )
    for column, (title, subtitle, pairs) in enumerate(kinds):
        left = MARGIN + column * (BLOCK_WIDTH + KIND_GAP)
        _write(figure, left, 0.2, title, _TextStyle(13, "bold", "left"))
        note = "" if threshold is None else f" · threshold d = {threshold:.3f}"
        _write(figure, left, 0.44, f"{subtitle}{note}" if pairs else "there is no such pair", _TextStyle(align="left"))
        for place, pair in enumerate(pairs):
            row, rank = divmod(place, PAIRS_PER_ROW)
            x = left + rank * (PAIR_WIDTH + PAIR_GAP)
            _plot_pair(figure, x, HEADER_HEIGHT + row * (IMAGE_SIDE + TEXT_HEIGHT), pair, images, threshold)
    return to_png(figure)


def _plot_pair(
    figure: Figure, left: float, top: float, pair: Pair, images: LabelledImages, threshold: float | None
) -> None:
    second_left = left + IMAGE_SIDE + IMAGE_GAP
    place_image(figure, left, top, IMAGE_SIDE, images.image_of(pair.first))
    place_image(figure, second_left, top, IMAGE_SIDE, images.image_of(pair.second))
    middle, below = left + PAIR_WIDTH / 2, top + IMAGE_SIDE + 0.05
    verdict = "" if threshold is None else ", accepted" if pair.distance <= threshold else ", rejected"
    _write(figure, middle, below, f"d = {pair.distance:.3f}{verdict}", _TextStyle(weight="bold"))
    if pair.first_label == pair.second_label:
        _write_name(figure, middle, below, images.names[pair.first_label], PAIR_WIDTH)
        return
    for label, image_left in ((pair.first_label, left), (pair.second_label, second_left)):
        _write_name(figure, image_left + IMAGE_SIDE / 2, below, images.names[label], IMAGE_SIDE)


def place_image(figure: Figure, left: float, top: float, side: float, image: Image.Image) -> None:
    """Adds a whole image in a square, at a place in inches from the figure's left and top."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
    pixels = round(side * DPI)
    # Resized to the figure's own pixels: matplotlib would not smooth an image that it reduces.
    axes.imshow(ImageOps.pad(image.convert("RGB"), (pixels, pixels), color="white"), interpolation="none")
    axes.set(xticks=(), yticks=())
    for spine in axes.spines.values():
        spine.set(color=GREY, linewidth=0.5)


def _write_name(figure: Figure, x: float, below: float, name: str, width: float) -> None:
    style = _TextStyle(LABEL_SIZE - 1)
    _write(figure, x, below + 0.18, wrap_to_width(name, width, style.size, NUM_NAME_LINES), style)


def _write(figure: Figure, x: float, y: float, text: str, style: _TextStyle) -> None:
    """Adds text below a place in inches from the figure's left and top."""
    width, height = figure.get_size_inches()
    figure.text(
        x / width,
        1 - y / height,
        text,
        ha=style.align,
        va="top",
        color=INK,
        fontsize=style.size,
        fontweight=style.weight,
        family=font_families(),
        linespacing=1.1,
    )
