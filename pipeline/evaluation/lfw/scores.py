"""Scores of a model on Labeled Faces in the Wild, and their combination over several models."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.metric_names import val_name
from pipeline.evaluation.splits import RateOverSplits, standard_error
from pipeline.evaluation.verification.protocol import OperatingPoint, Verification


@dataclass(frozen=True)
class FoldScore:
    """One fold of View 2, judged by thresholds that were chosen on other folds.

    Attributes:
        fold: From 0.
        accuracy: Share of the fold's pairs that are judged rightly, same and different ones weighing equally.
        threshold: Of the highest accuracy on the other folds.
        chosen_on: The other folds, from 0.
        points: For each false accept rate, the threshold that keeps to it on the other folds, with VAL and FAR here.
        is_resolved: For each rate, whether the other folds' pairs hold enough different ones for it.
    """

    fold: int
    accuracy: float
    threshold: float
    chosen_on: tuple[int, ...]
    points: tuple[OperatingPoint, ...]
    is_resolved: tuple[bool, ...]


@dataclass(frozen=True)
class SettingScore:
    """All scored folds in one setting.

    Attributes:
        folds: In ascending order, at least one.
    """

    folds: tuple[FoldScore, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the folds: the figure that LFW's tables list."""
        return float(np.mean([fold.accuracy for fold in self.folds]))

    @property
    def standard_error(self) -> float | None:
        """Of the mean, std(ddof=1) / √folds; None for a single fold."""
        return standard_error([fold.accuracy for fold in self.folds])

    @property
    def rates(self) -> tuple[RateOverSplits, ...]:
        """VAL over the folds, at each false accept rate."""
        points = zip(*(fold.points for fold in self.folds), strict=True)
        resolved = zip(*(fold.is_resolved for fold in self.folds), strict=True)
        return tuple(RateOverSplits(of_far[0].far, of_far, ok) for of_far, ok in zip(points, resolved, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document; folds count from 1."""
        folds = [
            {
                "fold": fold.fold + 1,
                "accuracy": fold.accuracy,
                "threshold": fold.threshold,
                "chosen_on": [other + 1 for other in fold.chosen_on],
            }
            for fold in self.folds
        ]
        return {
            "accuracy": self.accuracy,
            "standard_error": self.standard_error,
            "folds": folds,
            "rates": [rate.to_dict() for rate in self.rates],
        }


@dataclass(frozen=True, eq=False)
class View2:
    """The official figures, of one model or of several that share the folds among them.

    Attributes:
        restricted: Thresholds chosen on the listed pairs of other folds (image-restricted setting).
        unrestricted: Thresholds chosen on all pairs that the people of other folds form; None without people sets.
        verifications: For each model, the listed pairs of the folds that it scored.
        num_folds: Folds that there are, scored or not.
        num_trained_folds: Scored folds with people that a model was trained on: 0, unless that was allowed; None where
            it is not known what a model was trained on.
    """

    restricted: SettingScore
    unrestricted: SettingScore | None
    verifications: tuple[Verification, ...]
    num_folds: int
    num_trained_folds: int | None

    @property
    def scored_folds(self) -> tuple[int, ...]:
        """From 0, ascending."""
        return tuple(fold.fold for fold in self.restricted.folds)

    @property
    def left_out_folds(self) -> tuple[int, ...]:
        """Folds that were not scored because the model was trained on some of their people; from 0, ascending."""
        return tuple(fold for fold in range(self.num_folds) if fold not in self.scored_folds)

    def metrics(self) -> dict[str, float]:
        """The figures of merit under stable names.

        ``lfw_roc_auc`` and ``lfw_eer`` are over all scored pairs of a model. Distances of different models share no
        scale, so those of several are averaged, each by its number of pairs.
        """
        weights = [len(pairs.same) + len(pairs.different) for pairs in self.verifications]
        aucs = [pairs.roc_auc() for pairs in self.verifications]
        eers = [pairs.eer().rate for pairs in self.verifications]
        figures = {f"lfw_accuracy_{name}": score.accuracy for name, score in self._settings().items()}
        figures["lfw_roc_auc"] = float(np.average(aucs, weights=weights))
        figures["lfw_eer"] = float(np.average(eers, weights=weights))
        for name, score in self._settings().items():
            figures |= {f"lfw_{val_name(rate.far)}_{name}": rate.val for rate in score.rates}
        return figures

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document: the metrics, standard errors, thresholds and each fold, which count from 1."""
        return self.metrics() | {
            "num_same_pairs": sum(len(pairs.same) for pairs in self.verifications),
            "num_different_pairs": sum(len(pairs.different) for pairs in self.verifications),
            "num_models": len(self.verifications),
            "num_folds": self.num_folds,
            "num_trained_folds": self.num_trained_folds,
            "scored_folds": [fold + 1 for fold in self.scored_folds],
            "left_out_folds": [fold + 1 for fold in self.left_out_folds],
            "settings": {name: score.to_dict() for name, score in self._settings().items()},
        }

    def _settings(self) -> dict[str, SettingScore]:
        settings = {"restricted": self.restricted}
        return settings if self.unrestricted is None else settings | {"unrestricted": self.unrestricted}


@dataclass(frozen=True, eq=False)
class View1:
    """The development figures.

    Attributes:
        accuracy: On the test pairs, same and different ones weighing equally.
        threshold: Of the highest accuracy on the training pairs.
        verification: The test pairs.
        num_trained_labels: People in the test pairs that the model was trained on: 0, unless that was allowed; None
            where it is not known what the model was trained on.
    """

    accuracy: float
    threshold: float
    verification: Verification
    num_trained_labels: int | None

    def metrics(self) -> dict[str, float]:
        """The figures of merit under stable names."""
        return {
            "lfw_view1_accuracy": self.accuracy,
            "lfw_view1_roc_auc": self.verification.roc_auc(),
            "lfw_view1_eer": self.verification.eer().rate,
        }

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        return self.metrics() | {
            "threshold": self.threshold,
            "num_same_pairs": len(self.verification.same),
            "num_different_pairs": len(self.verification.different),
            "num_trained_labels": self.num_trained_labels,
        }


def combine_folds(results: Sequence[View2]) -> View2:
    """Joins the results of models that were each trained without the folds that they score, as LFW's rules have it.

    Args:
        results: Together they score each fold once.

    Raises:
        InputError: A fold is scored twice or not at all, a model scored folds with people it was trained on, or the
            results are of different numbers of folds, false accept rates or settings.
    """
    _check_combinable(results)
    unrestricted = [result.unrestricted for result in results if result.unrestricted is not None]
    return View2(
        restricted=_merge_folds([result.restricted for result in results]),
        unrestricted=_merge_folds(unrestricted) if unrestricted else None,
        verifications=tuple(pairs for result in results for pairs in result.verifications),
        num_folds=results[0].num_folds,
        num_trained_folds=None if any(result.num_trained_folds is None for result in results) else 0,
    )


def _check_combinable(results: Sequence[View2]) -> None:
    if not results:
        raise InputError("no LFW result is given: evaluate a checkpoint for each fold first")
    if any(result.num_trained_folds for result in results):
        raise InputError(
            "a model scored LFW folds with people that it was trained on, which no mean over models may hide: evaluate "
            "it with evaluation.allow_trained_labels false"
        )
    kinds = {
        (result.num_folds, result.unrestricted is None, tuple(point.far for point in result.restricted.folds[0].points))
        for result in results
    }
    if len(kinds) > 1:
        raise InputError(
            "the LFW results differ in their number of folds, their settings or their false accept rates: evaluate all "
            "models with one config"
        )
    times = Counter(fold for result in results for fold in result.scored_folds)
    faults = [f"fold {fold + 1} {times[fold]} times" for fold in range(results[0].num_folds) if times[fold] != 1]
    if faults:
        raise InputError(
            f"the LFW results must score each fold once, but score {', '.join(faults)}: give one model for each fold, "
            "trained on none of its people"
        )


def _merge_folds(settings: Sequence[SettingScore]) -> SettingScore:
    folds = [fold for setting in settings for fold in setting.folds]
    return SettingScore(tuple(sorted(folds, key=lambda fold: fold.fold)))
