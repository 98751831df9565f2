"""Robustness: what a network achieves on perturbed images (FaceNet, section 5.3 and table 4)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import EvaluationConfig
from pipeline.errors import InputError
from pipeline.evaluation.evaluate import Evaluation, evaluate_embeddings
from pipeline.evaluation.metric_names import val_name
from pipeline.evaluation.robustness.perturbations import Perturbation
from pipeline.evaluation.sweep import Sweep, SweepRow

# Of each sweep: its title, what a value is, and whether its plot takes a logarithmic axis.
_SWEEP_LABELS = {
    "jpeg": ("JPEG compression", "quality", False),
    "size": ("Image size", "side in pixels", True),
    "blur": ("Gaussian blur", "standard deviation in % of the side", True),
    "occlusion": ("Occlusion", "share of the area", True),
    "noise": ("Gaussian noise", "standard deviation in grey levels", True),
}


@dataclass(frozen=True)
class Robustness:
    """The figures of merit of a checkpoint on the same examples, unperturbed and perturbed.

    Attributes:
        counts: Examples, labels, queries and pairs behind each figure.
        fars: False accept rates; the first is that of the summaries.
        unperturbed: Figures of merit by name.
        sweeps: The same at each value of each sweep.
    """

    counts: Mapping[str, int]
    fars: tuple[float, ...]
    unperturbed: Mapping[str, float]
    sweeps: tuple[Sweep, ...]

    @property
    def headline(self) -> str:
        """The metric by which a sweep is summarised and plotted: VAL at the first false accept rate."""
        return val_name(self.fars[0])

    def metrics(self) -> dict[str, float]:
        """VAL at each rate, as ``val_at_far_1e-03_jpeg_10``, beside ``val_at_far_1e-03_unspoilt``; and the summaries.

        ``val_kept_at_far_1e-03_jpeg`` is the mean of VAL over the sweep's values, as a share of that on unperturbed
        images. Where the latter is 0 there is no such metric.
        """
        metrics = {}
        for metric in map(val_name, self.fars):
            metrics[f"{metric}_unspoilt"] = self.unperturbed[metric]
            for sweep in self.sweeps:
                for row in sweep.rows:
                    metrics[f"{metric}_{Perturbation(sweep.name, row.value).name}"] = row.metrics[metric]
        kept_name = self.headline.replace("val_", "val_kept_", 1)
        kept = {f"{kept_name}_{sweep.name}": sweep.retained_share(self.headline) for sweep in self.sweeps}
        return metrics | {name: share for name, share in kept.items() if share is not None}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, the counts, and all figures of each value."""
        sweeps = {sweep.name: sweep.to_dict() for sweep in self.sweeps}
        return {**self.metrics(), **self.counts, "sweeps": sweeps}


def evaluate_robustness(
    unperturbed_ND: npt.NDArray[np.float32],
    perturbed: Iterable[tuple[Perturbation, npt.NDArray[np.float32]]],
    labels_N: npt.ArrayLike,
    config: EvaluationConfig,
    seed: int,
) -> Robustness:
    """Evaluates the embeddings of unperturbed and of perturbed images, all on the same pairs.

    Args:
        unperturbed_ND: (N, D) float32, unit vectors; see ``sample_examples`` for which.
        perturbed: Each perturbation with the (N, D) embeddings of the same images under it, in any order; consumed
            one by one.
        labels_N: (N,) integer label codes.
        config: False accept rates, and how many pairs are sampled.
        seed: Seeds the sample of pairs.

    Raises:
        InputError: No perturbation, no pair of a kind, or an embedding that is not finite.
    """
    evaluation = evaluate_embeddings(unperturbed_ND, labels_N, config, seed)
    rows_by_sweep: dict[str, list[SweepRow]] = {}
    for perturbation, perturbed_ND in perturbed:
        figures = figures_of_merit(evaluate_embeddings(perturbed_ND, labels_N, config, seed))
        rows_by_sweep.setdefault(perturbation.sweep, []).append(SweepRow(perturbation.value, figures))
    if not rows_by_sweep:
        raise InputError("no sweep of evaluation.robustness has a value: give one of them values")
    unperturbed = figures_of_merit(evaluation)
    sweeps = []
    for name, rows in rows_by_sweep.items():
        title, label, is_log = _SWEEP_LABELS[name]
        ascending = tuple(sorted(rows, key=lambda row: row.value))
        sweeps.append(Sweep(name, title, label, ascending, unperturbed, is_log))
    counts = {name: int(count) for name, count in evaluation.to_dict().items() if name.startswith("num_")}
    return Robustness(counts, config.fars, unperturbed, tuple(sweeps))


def figures_of_merit(evaluation: Evaluation) -> dict[str, float]:
    """VAL at each rate, ``roc_auc``, ``recall_at_1``, and ``pair_accuracy`` at the best threshold."""
    verification, metrics = evaluation.verification, evaluation.metrics()
    vals = {name: value for name, value in metrics.items() if name.startswith("val_")}
    return vals | metrics | {"pair_accuracy": verification.accuracy(verification.best_threshold())}


def sample_examples(labels_N: npt.ArrayLike, max_examples: int, seed: int) -> npt.NDArray[np.int64]:
    """Samples whole labels with two examples or more, in an order by seed, each that still fits.

    Where all of them fit all are taken, and the seed does not matter. A label so large that no other fits beside it is
    left out.

    Args:
        labels_N: (N,) integer label codes.
        max_examples: At most so many examples.
        seed: Seeds the sample.

    Returns:
        (M,) int64, places in ``labels_N``, ascending, of at least two labels.

    Raises:
        InputError: There are no two such labels, or no two of them fit.
    """
    labels = np.asarray(labels_N)
    distinct, counts = np.unique(labels, return_counts=True)
    distinct, counts = distinct[counts >= 2], counts[counts >= 2]
    if len(distinct) < 2:
        raise InputError(
            f"robustness needs two labels with two examples each, but the {len(labels)} evaluated examples have "
            f"{len(distinct)}: raise corpus.test_fraction and prepare the corpus again"
        )
    smallest = np.sort(counts)[:2]
    if smallest.sum() > max_examples:
        raise InputError(
            f"{max_examples} examples are no room for two whole labels, of which the smallest have {smallest[0]} and "
            f"{smallest[1]}: raise evaluation.robustness.max_examples to {smallest.sum()} or more"
        )
    chosen, room = [], max_examples
    for place in np.random.default_rng(seed).permutation(np.flatnonzero(counts <= max_examples - smallest[0])):
        if counts[place] <= room:
            chosen.append(distinct[place])
            room -= int(counts[place])
    return np.flatnonzero(np.isin(labels, chosen))
