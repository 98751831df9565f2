"""Projections of embeddings to the plane. N: examples, D: embedding dimension."""

import importlib
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from pipeline.errors import InputError
from pipeline.evaluation.plots.names import Names, shorten_to_width, use_font_families
from pipeline.plotting import GRID, INK, LABEL_SIZE, line_look, new_panels, style_axes, to_png

Method = Literal["pca", "t_sne", "umap"]

# Fewer examples have no neighbourhoods that t-SNE or UMAP could keep.
MIN_NEIGHBOURS_EXAMPLES = 8
PERPLEXITY = 30
NUM_NEIGHBOURS = 15
# Labels in colour (of equally frequent ones, those of lower codes), and points at most.
NUM_LABELS = 12
NUM_POINTS = 5_000
NAME_WIDTH = 2.2
TITLE_WIDTH = 5.0


def project(vectors_ND: npt.NDArray[np.float32], method: Method, seed: int) -> npt.NDArray[np.float32]:
    """Projects embeddings to the plane.

    PCA is linear, and takes a million examples in seconds. t-SNE (van der Maaten and Hinton 2008) and UMAP (McInnes
    et al. 2018) keep neighbourhoods, not distances; give them what ``sample_points`` returned.

    Args:
        vectors_ND: (N, D) float32, finite.
        method: Of projection.
        seed: Seeds t-SNE and UMAP.

    Returns:
        (N, 2) float32; the second coordinate of one-dimensional vectors is 0.

    Raises:
        InputError: Too few examples for t-SNE or UMAP, or UMAP is not installed.
    """
    num_examples = len(vectors_ND)
    if method == "pca":
        num_components = min(2, vectors_ND.shape[1])
        points_N2 = np.zeros((num_examples, 2), dtype=np.float32)
        if num_examples > 1:
            points_N2[:, :num_components] = PCA(num_components, svd_solver="full").fit_transform(vectors_ND)
        return points_N2
    if num_examples < MIN_NEIGHBOURS_EXAMPLES:
        raise InputError(
            f"the projection {method!r} needs {MIN_NEIGHBOURS_EXAMPLES} examples, but there are {num_examples}: "
            "choose 'pca'"
        )
    if method == "t_sne":
        perplexity = min(PERPLEXITY, (num_examples - 1) / 3)
        return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors_ND))
    try:
        umap = importlib.import_module("umap")
    except ImportError as error:
        raise InputError(
            "the projection 'umap' needs the package umap-learn: run pip install umap-learn, or choose 'pca' or "
            f"'t_sne' ({error})"
        ) from error
    num_neighbours = min(NUM_NEIGHBOURS, num_examples - 1)
    reducer = umap.UMAP(n_neighbors=num_neighbours, random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit_transform(vectors_ND), dtype=np.float32)


def sample_points(
    labels_N: npt.ArrayLike, seed: int, num_labels: int = NUM_LABELS, num_points: int = NUM_POINTS
) -> npt.NDArray[np.int64]:
    """Samples the examples that are shown.

    The most frequent labels get up to half of the points: sampled with the same chance as all others, their examples
    would be lost among those of many labels.

    Args:
        labels_N: (N,) integer label codes.
        seed: Seeds the sample.
        num_labels: Labels in colour, whose examples are favoured.
        num_points: At most so many examples.

    Returns:
        Rows in ascending order, int64; all where there are few enough.
    """
    labels = np.asarray(labels_N)
    if len(labels) <= num_points:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    is_coloured = np.isin(labels, _most_frequent(labels, num_labels))
    coloured = rng.permutation(np.flatnonzero(is_coloured))
    others = rng.permutation(np.flatnonzero(~is_coloured))
    num_coloured = min(len(coloured), max(num_points // 2, num_points - len(others)))
    return np.sort(np.concatenate([coloured[:num_coloured], others[: num_points - num_coloured]]))


def plot_projection(
    points_N2: npt.NDArray[np.floating],
    labels_N: npt.ArrayLike,
    names: Names,
    title: str,
    num_labels: int = NUM_LABELS,
) -> bytes:
    """Plots projected embeddings, the most frequent labels in colours and all others grey.

    Args:
        points_N2: (N, 2), see ``project``; all of them are shown.
        labels_N: (N,) integer label codes.
        names: Of the label codes.
        title: Such as "t-SNE, step 1500".
        num_labels: Labels in colour.

    Returns:
        A PNG of one panel.

    Raises:
        ValueError: No points.
    """
    labels = np.asarray(labels_N)
    if not len(labels):
        raise ValueError("there is no point to plot")
    figure, (axes,) = new_panels(1, 9.0, 6.5)
    _scatter(axes, points_N2, labels, names, _most_frequent(labels, num_labels))
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=(), yticks=())
    num_all = len(np.unique(labels))
    axes.set_xlabel(f"{len(labels):,} examples of {num_all:,} label{'s' if num_all > 1 else ''}")
    style_axes(axes, shorten_to_width(title, TITLE_WIDTH, 12, "bold"))
    axes.legend(
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        labelcolor=INK,
        markerscale=1.3,
        fontsize=LABEL_SIZE,
    )
    use_font_families(axes)
    return to_png(figure)


def _scatter(
    axes: Axes,
    points_N2: npt.NDArray[np.floating],
    labels: npt.NDArray[np.generic],
    names: Names,
    coloured: npt.NDArray[np.generic],
) -> None:
    for place, code in enumerate(coloured):
        x, y = points_N2[labels == code].T
        # There is one shape more than there are colours: a colour that comes again has another shape.
        color, marker = line_look(place)
        entry = f"{shorten_to_width(names[int(code)], NAME_WIDTH, LABEL_SIZE)} ({len(x):,})"
        axes.scatter(x, y, s=26, color=color, marker=marker, edgecolors="white", linewidths=0.4, label=entry)
    is_other = ~np.isin(labels, coloured)
    if is_other.any():
        x, y = points_N2[is_other].T
        entry = f"{len(np.unique(labels[is_other])):,} other labels ({len(x):,})"
        axes.scatter(x, y, s=6, color=GRID, linewidths=0, label=entry, zorder=0)


def _most_frequent(labels: npt.NDArray[np.generic], number: int) -> npt.NDArray[np.generic]:
    codes, counts = np.unique(labels, return_counts=True)
    most_first = np.argsort(-counts, kind="stable")
    return np.asarray(codes[most_first[:number]])
