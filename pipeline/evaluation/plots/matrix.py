"""A matrix of the distances between a few images of a few labels, as in FaceNet's figure 1."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from PIL import Image

from pipeline.evaluation.plots.faces import place_image
from pipeline.evaluation.plots.names import Names, font_families, wrap_to_width
from pipeline.plotting import DPI, INK, LABEL_SIZE, PALETTE, to_png

MAX_IMAGES = 36
# Numbers are written into cells of so many images at most.
MAX_NUMBERED = 24
# In inches.
MATRIX_SIDE = 10.0
MAX_CELL = 0.8
NAME_WIDTH = 1.6
MARGIN = 0.25
GAP = 0.06
TITLE_HEIGHT = 0.45
SCALE_HEIGHT = 0.9
NAME_LINE = 0.16
MAX_NAME_LINES = 3
# Of unit vectors; and the least range of the colours, for images that are all alike.
MAX_DISTANCE, MIN_RANGE = 4.0, 0.1
# Of red, green and blue (ITU-R BT.709), and below which white figures have more contrast than ink.
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
GAMMA, DARK = 2.2, 0.2
NEAR_AND_FAR = LinearSegmentedColormap.from_list("near and far", [PALETTE[0], "white", PALETTE[1]])


def sample_label_examples(labels_N: npt.ArrayLike, num_labels: int, num_each: int, seed: int) -> npt.NDArray[np.int64]:
    """Samples some examples of some labels.

    Args:
        labels_N: (N,) integer label codes.
        num_labels: Sampled from the labels with ``num_each`` examples; where these are too few, the labels with the
            most examples are added.
        num_each: Examples of each label, or all where it has fewer.
        seed: Seeds the sample.

    Returns:
        Rows, int64, those of a label side by side.
    """
    labels = np.asarray(labels_N)
    rng = np.random.default_rng(seed)
    codes, counts = np.unique(labels, return_counts=True)
    shuffled = rng.permutation(len(codes))
    # A stable sort keeps the random order among labels that have enough.
    chosen = shuffled[np.argsort(-np.minimum(counts[shuffled], num_each), kind="stable")][:num_labels]
    rows = [rng.permutation(np.flatnonzero(labels == code))[:num_each] for code in codes[chosen]]
    return np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)


def plot_distance_matrix(
    vectors_MD: npt.NDArray[np.float32],
    labels_M: npt.ArrayLike,
    names: Names,
    images: Sequence[Image.Image],
    threshold: float,
) -> bytes:
    """Plots the squared L2 distances of all pairs of the images, in colours that change over at the threshold.

    Args:
        vectors_MD: (M, D) float32, unit vectors; M is 36 at most.
        labels_M: (M,) integer label codes; the images of a label are brought together.
        names: Of the label codes.
        images: M images, of any size and mode.
        threshold: Distance up to which a pair is accepted.

    Returns:
        A PNG. Up to 24 images, the distances are also written into the cells.

    Raises:
        ValueError: No image, too many, or not as many as vectors and labels.
    """
    labels = np.asarray(labels_M)
    if not 0 < len(images) <= MAX_IMAGES or not len(images) == len(labels) == len(vectors_MD):
        raise ValueError(
            f"{len(vectors_MD)} vectors, {len(labels)} labels and {len(images)} images: give 1 to {MAX_IMAGES} of each"
        )
    order = np.argsort(labels, kind="stable")
    labels = labels[order]
    vectors = vectors_MD[order].astype(np.float64)
    distances_MM = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    side = min(MAX_CELL * len(order), MATRIX_SIDE)
    cell = side / len(order)
    left, top = MARGIN + NAME_WIDTH + GAP + cell + GAP, TITLE_HEIGHT + cell + GAP
    width, height = left + side + MARGIN, top + side + SCALE_HEIGHT
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.text(
        MARGIN / width, 1 - 0.12 / height, "Squared L2 distances", va="top", color=INK, fontsize=12, weight="bold"
    )
    for place, row in enumerate(order):
        place_image(figure, left - GAP - cell, top + place * cell, cell * 0.96, images[row])
        place_image(figure, left + place * cell, top - GAP - cell, cell * 0.96, images[row])
    axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
    norm = _centred(distances_MM, threshold)
    _plot_cells(axes, distances_MM, norm, cell)
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    for start, end in zip(starts, [*starts[1:], len(labels)], strict=True):
        for line in (axes.axhline, axes.axvline):
            line(end - 0.5, color=INK, linewidth=1.2)
        _write_name(figure, names[int(labels[start])], top + start * cell, (end - start) * cell)
    _plot_color_bar(figure, norm, threshold)
    return to_png(figure)


def _write_name(figure: Figure, name: str, top: float, rows_height: float) -> None:
    """Writes a label's name beside its rows, whose top and height are given in inches."""
    width, height = figure.get_size_inches()
    num_lines = max(1, min(MAX_NAME_LINES, int(rows_height / NAME_LINE)))
    figure.text(
        (MARGIN + NAME_WIDTH) / width,
        1 - (top + rows_height / 2) / height,
        wrap_to_width(name, NAME_WIDTH, LABEL_SIZE, num_lines),
        ha="right",
        va="center",
        color=INK,
        fontsize=LABEL_SIZE,
        family=font_families(),
    )


def _centred(distances_MM: npt.NDArray[np.float64], threshold: float) -> TwoSlopeNorm:
    highest = max(float(distances_MM.max()), MIN_RANGE)
    # An unusable threshold, such as one below 0, leaves all distances on one side.
    centre = float(np.clip(threshold, 0.01 * highest, MAX_DISTANCE))
    return TwoSlopeNorm(centre, 0.0, max(highest, 2 * centre))


def _plot_cells(axes: Axes, distances_MM: npt.NDArray[np.float64], norm: TwoSlopeNorm, cell: float) -> None:
    axes.imshow(distances_MM, cmap=NEAR_AND_FAR, norm=norm, interpolation="nearest")
    axes.set(xticks=(), yticks=())
    if len(distances_MM) <= MAX_NUMBERED:
        size = min(LABEL_SIZE + 1, 20 * cell)
        for (row, column), distance in np.ndenumerate(distances_MM):
            luminance = LUMINANCE @ np.power(NEAR_AND_FAR(float(norm(distance)))[:3], GAMMA)
            color = "white" if luminance < DARK else INK
            axes.text(column, row, f"{distance:.2f}", ha="center", va="center", color=color, fontsize=size)


def _plot_color_bar(figure: Figure, norm: TwoSlopeNorm, threshold: float) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((MARGIN / width, 0.5 / height, 1 - 2 * MARGIN / width, 0.16 / height))
    bar = figure.colorbar(ScalarMappable(norm, NEAR_AND_FAR), cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    axes.tick_params(colors=INK, labelsize=LABEL_SIZE, length=2)
    axes.axvline(norm.vcenter, color=INK, linewidth=1.2)
    meaning = "no pair is accepted" if threshold < 0 else f"d ≤ {threshold:.3f}: accepted as one label"
    axes.set_xlabel(meaning, color=INK, fontsize=LABEL_SIZE)
