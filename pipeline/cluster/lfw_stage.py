"""LFW's protocols on a checkpoint: the official files' pairs and people, found in the corpus, and scored."""

from functools import partial
from pathlib import Path

import numpy as np

from pipeline.cluster.examination import Examination
from pipeline.corpus.lfw_files import FoundPairs, find_pairs, find_people, read_pairs, read_people
from pipeline.errors import InputError
from pipeline.evaluation.lfw import ListedPairs, score_view1, score_view2
from pipeline.evaluation.lfw_scores import View1, View2


def measure_view2(one: Examination) -> View2:
    """View 2, both settings: the folds of which training has seen nobody, thresholds chosen on other such folds.

    Raises:
        InputError: The official files are not there, do not fit the corpus, or training has seen all folds.
    """
    folder, evaluation = _folder(one), one.config.evaluation
    return score_view2(
        one.vectors_ND,
        one.corpus.labels,
        _listed(_found(one, folder / "pairs.txt")),
        fars=evaluation.fars,
        max_pairs=evaluation.max_pairs,
        seed=one.config.seed,
        people=find_people(read_people(folder / "people.txt"), one.corpus.label_names, one.corpus.labels),
        trained_labels=_trained(one),
        allow_trained_labels=evaluation.allow_trained_labels,
    )


def measure_view1(one: Examination) -> View1:
    """View 1, for development: the threshold from pairsDevTrain.txt, the accuracy on pairsDevTest.txt.

    Raises:
        InputError: As for View 2.
    """
    folder = _folder(one)
    train, test = (_listed(_found(one, folder / f"pairsDev{name}.txt")) for name in ("Train", "Test"))
    score = partial(score_view1, trained_labels=_trained(one))
    return score(
        one.vectors_ND, one.corpus.labels, train, test, allow_trained_labels=one.config.evaluation.allow_trained_labels
    )


def _folder(one: Examination) -> Path:
    folder = one.config.evaluation.lfw.folder
    if folder is None:
        raise InputError(
            "LFW's protocols need its official files: set evaluation.lfw.folder to the folder of pairs.txt and "
            "people.txt"
        )
    return Path(folder)


def _found(one: Examination, file: Path) -> FoundPairs:
    corpus = one.corpus
    paths = [path for part in range(corpus.num_parts) for path in corpus.read_paths(part)]
    return find_pairs(read_pairs(file), paths)


def _listed(found: FoundPairs) -> ListedPairs:
    return ListedPairs(found.ids_P2, found.is_same_P, found.fold_P)


def _trained(one: Examination) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    return None if one.trained_L is None else np.flatnonzero(one.trained_L)
