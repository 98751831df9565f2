"""LFW's protocols on a checkpoint: the official files' pairs and people, found in the corpus, and scored."""

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
from pipeline.evaluation.lfw.view2 import ListedPairs, score_view1, score_view2
from pipeline.evaluation.quantisation import quantise, restore
from pipeline.stages.evaluate.examination import Examination


@dataclass(frozen=True)
class Int8View2:
    """View 2 with embeddings as they are, and restored from one byte a dimension."""

    exact: View2
    int8: View2

    def metrics(self) -> dict[str, float]:
        """``lfw_accuracy_restricted_int8`` and so on, and ``…_int8_change`` from the embeddings as they are."""
        exact, found = self.exact.metrics(), {}
        for name, value in self.int8.metrics().items():
            found[f"{name}_int8"] = value
            found[f"{name}_int8_change"] = value - exact[name]
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able document."""
        return self.metrics() | {"exact": self.exact.to_dict(), "int8": self.int8.to_dict()}


def measure_view2(one: Examination) -> View2:
    """View 2, both settings: the folds of which training has seen nobody, thresholds chosen on other such folds.

    Raises:
        InputError: The official files are not there, do not fit the corpus, or training has seen all folds.
    """
    return _view2(one, one.vectors_ND)


def measure_int8(one: Examination) -> Int8View2:
    """View 2 before and after quantisation.

    Raises:
        InputError: As for View 2; or an embedding is not finite.
    """
    return Int8View2(_view2(one, one.vectors_ND), _view2(one, restore(quantise(one.vectors_ND))))


def _view2(one: Examination, vectors_ND: npt.NDArray[np.float32]) -> View2:
    folder, evaluation = _folder(one), one.config.evaluation
    scored = score_view2(
        vectors_ND,
        one.corpus.labels,
        _listed(one, folder / "pairs.txt"),
        fars=evaluation.fars,
        max_pairs=evaluation.max_pairs,
        seed=one.config.seed,
        people=find_people(read_people(folder / "people.txt"), one.corpus.label_names, one.corpus.labels),
        trained_labels=_trained(one),
        allow_trained_labels=evaluation.allow_trained_labels,
    )
    return scored if one.trained_L is not None else replace(scored, num_trained_folds=None)


def measure_view1(one: Examination) -> View1:
    """View 1, for development: the threshold from pairsDevTrain.txt, the accuracy on pairsDevTest.txt.

    Raises:
        InputError: As for View 2.
    """
    folder = _folder(one)
    train, test = (_listed(one, folder / f"pairsDev{name}.txt") for name in ("Train", "Test"))
    scored = score_view1(
        one.vectors_ND,
        one.corpus.labels,
        train,
        test,
        trained_labels=_trained(one),
        allow_trained_labels=one.config.evaluation.allow_trained_labels,
    )
    return scored if one.trained_L is not None else replace(scored, num_trained_labels=None)


def why_not(config: RunConfig, corpus: Corpus, checkpoint: CheckpointManifest) -> str:
    """What is missing for LFW's protocols."""
    if config.evaluation.lfw.folder is not None:
        return ""
    return (
        "LFW's protocols need its official files: set evaluation.lfw.folder to the folder of pairs.txt and people.txt"
    )


def _folder(one: Examination) -> Path:
    if (folder := one.config.evaluation.lfw.folder) is None:
        raise InputError(why_not(one.config, one.corpus, one.checkpoint))
    return Path(folder)


def _listed(one: Examination, file: Path) -> ListedPairs:
    found = find_pairs(read_pairs(file), one.paths)
    return ListedPairs(found.ids_P2, found.is_same_P, found.fold_P)


def _trained(one: Examination) -> npt.NDArray[np.int64] | None:
    return None if one.trained_L is None else np.flatnonzero(one.trained_L)
