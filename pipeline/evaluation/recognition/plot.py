"""Plots recognition: the accuracy of each classifier for each result, with its standard error."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import PercentFormatter

from pipeline.evaluation.plots.names import shorten_to_width, use_font_families
from pipeline.evaluation.recognition.protocol import RecognitionReport
from pipeline.evaluation.verification.roc import DASHED, NAME_WIDTH
from pipeline.plotting import GREY, INK, LABEL_SIZE, PALETTE, legend_below, new_panels, style_axes, to_png

PANEL_WIDTH, PANEL_HEIGHT = 8.0, 4.8
GROUP_WIDTH = 0.8
# With more bars in a group, the numbers above them would run into one another.
MAX_NUMBERED_BARS = 3


def plot_recognition(results: Mapping[str, RecognitionReport]) -> bytes:
    """Plots a group of bars for each classifier, a bar for each result; whiskers are one standard error over the folds.

    A dashed line is the share of the most frequent label, which a constant guess achieves.

    Args:
        results: By name ("untrained", "step 1500").

    Returns:
        A PNG, 1200 pixels wide.

    Raises:
        ValueError: No results.
    """
    if not results:
        raise ValueError("there is no result to plot")
    figure, (axes,) = new_panels(1, PANEL_WIDTH, PANEL_HEIGHT, len(results))
    classifiers = list(dict.fromkeys(name for result in results.values() for name in result.classifiers))
    width = GROUP_WIDTH / len(results)
    for place, (name, result) in enumerate(results.items()):
        groups = [classifiers.index(classifier) for classifier in result.classifiers]
        centres = np.array(groups) + (place - (len(results) - 1) / 2) * width
        errors = [result.standard_errors().get(f"{classifier}_accuracy", 0.0) for classifier in result.classifiers]
        accuracies = [classifier.accuracy for classifier in result.classifiers.values()]
        counts = f"{result.num_labels:,} labels, {result.num_examples:,} examples"
        bars = axes.bar(
            centres,
            accuracies,
            width * 0.94,
            yerr=errors,
            color=PALETTE[place % len(PALETTE)],
            ecolor=INK,
            capsize=3,
            label=f"{shorten_to_width(name, NAME_WIDTH, LABEL_SIZE)}: {counts}",
        )
        if len(results) <= MAX_NUMBERED_BARS:
            axes.bar_label(bars, [f"{100 * accuracy:.1f}" for accuracy in accuracies], padding=2, fontsize=8, color=INK)
    last = list(results.values())[-1]
    axes.axhline(
        last.majority_share, color=GREY, linewidth=1.2, linestyle=DASHED, zorder=0.9, label="most frequent label"
    )
    axes.set_xticks(range(len(classifiers)), [_classifier_label(classifier) for classifier in classifiers])
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("accuracy, cross-validated")
    legend_below(axes)
    use_font_families(axes)
    style_axes(axes, "Recognition on the frozen embedding")
    axes.grid(visible=False, axis="x")
    return to_png(figure)


def _classifier_label(classifier: str) -> str:
    """``knn_3`` is "3 nearest neighbours", ``svm_linear`` "SVM, linear"."""
    kind, _, setting = classifier.partition("_")
    if kind == "knn":
        return "nearest\nneighbour" if setting == "1" else f"{setting} nearest\nneighbours"
    return f"SVM,\n{setting.upper() if setting == 'rbf' else setting}"
