"""LFW's protocols on a checkpoint: finds the official files' pairs and people in the corpus, and scores them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import RunConfig
from pipeline.corpus.lfw_files import find_pairs, find_people, read_pairs, read_people
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import InputError
from pipeline.evaluation.lfw.scores import View1, View2
from pipeline.evaluation.lfw.view2 import ListedPairs, OfficialFolds, score_view1, score_view2
from pipeline.evaluation.quantisation import quantise, restore
from pipeline.stages.evaluate.context import EvaluationContext


@dataclass(frozen=True)
class Int8View2:
    """View 2 with embeddings as they are, and restored from one byte a dimension."""

    exact: View2
    int8: View2

    def metrics(self) -> dict[str, float]:
        """``lfw_accuracy_restricted_int8`` and so on, and ``…_int8_change`` from the embeddings as they are."""
        exact, metrics = self.exact.metrics(), {}
        for name, value in self.int8.metrics().items():
            metrics[f"{name}_int8"] = value
            metrics[f"{name}_int8_change"] = value - exact[name]
        return metrics

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        return self.metrics() | {"exact": self.exact.to_dict(), "int8": self.int8.to_dict()}


def evaluate_view2(context: EvaluationContext) -> View2:
    """Scores View 2 in both settings: folds without trained people, with thresholds from other such folds.

    Raises:
        InputError: The official files are missing or do not fit the corpus, or each fold has trained people.
    """
    return _score_view2(context, context.vectors_ND)


def evaluate_int8(context: EvaluationContext) -> Int8View2:
    """Scores View 2 before and after quantisation.

    Raises:
        InputError: As for View 2; or an embedding is not finite.
    """
    restored_ND = restore(quantise(context.vectors_ND))
    return Int8View2(_score_view2(context, context.vectors_ND), _score_view2(context, restored_ND))


def _score_view2(context: EvaluationContext, vectors_ND: npt.NDArray[np.float32]) -> View2:
    folder, corpus, config = _folder(context), context.corpus, context.config
    pairs = _listed_pairs(context, folder / "pairs.txt")
    people = find_people(read_people(folder / "people.txt"), corpus.label_names, corpus.labels)
    folds = OfficialFolds(pairs, people)
    scored = score_view2(vectors_ND, corpus.labels, folds, config.evaluation, config.seed, _trained_codes(context))
    return scored if context.trained_L is not None else replace(scored, num_trained_folds=None)


def evaluate_view1(context: EvaluationContext) -> View1:
    """Scores View 1, for development: the threshold from pairsDevTrain.txt, the accuracy on pairsDevTest.txt.

    Raises:
        InputError: As for View 2.
    """
    folder = _folder(context)
    train, test = (_listed_pairs(context, folder / f"pairsDev{name}.txt") for name in ("Train", "Test"))
    scored = score_view1(
        context.vectors_ND,
        context.corpus.labels,
        train,
        test,
        trained_labels=_trained_codes(context),
        allow_trained_labels=context.config.evaluation.allow_trained_labels,
    )
    return scored if context.trained_L is not None else replace(scored, num_trained_labels=None)


def unavailable_reason(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """What is missing for LFW's protocols, in a sentence; empty where nothing is."""
    if config.evaluation.lfw.folder is not None:
        return ""
    return (
        "LFW's protocols need its official files: set evaluation.lfw.folder to the folder of pairs.txt and people.txt"
    )


def _folder(context: EvaluationContext) -> Path:
    if (folder := context.config.evaluation.lfw.folder) is None:
        raise InputError(unavailable_reason(context.config, context.corpus, context.checkpoint))
    return Path(folder)


def _listed_pairs(context: EvaluationContext, file: Path) -> ListedPairs:
    return ListedPairs(*find_pairs(read_pairs(file), context.paths))


def _trained_codes(context: EvaluationContext) -> npt.NDArray[np.int64] | None:
    return None if context.trained_L is None else np.flatnonzero(context.trained_L)
