"""Made-up data in the shape of LFW: folds of people, and listed pairs of each fold's people."""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.lfw.view2 import ListedPairs


@dataclass(frozen=True)
class LfwLike:
    embeddings: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    pairs: ListedPairs
    people: list[npt.NDArray[np.int64]]


def lfw_like(num_folds: int = 5, noise: float = 1.2, seed: int = 0, dim: int = 8, pairs_of_a_kind: int = 20) -> LfwLike:
    """Six people a fold with 1 to 6 images each, and as many same as different pairs."""
    rng = np.random.default_rng(seed)
    num_people = 6 * num_folds
    labels = np.repeat(np.arange(num_people), np.tile([1, 2, 3, 4, 5, 6], num_folds))
    vectors = rng.normal(size=(num_people, dim))[labels] + noise * rng.normal(size=(len(labels), dim))
    people = [np.arange(6 * fold, 6 * (fold + 1)) for fold in range(num_folds)]
    ids, is_same, folds = [], [], []
    for fold in range(num_folds):
        pairs = list(itertools.combinations(np.flatnonzero(labels // 6 == fold).tolist(), 2))
        for wanted in (True, False):
            candidates = [pair for pair in pairs if (labels[pair[0]] == labels[pair[1]]) == wanted]
            chosen = rng.choice(len(candidates), size=pairs_of_a_kind, replace=False)
            ids += [candidates[index] for index in chosen]
            is_same += [wanted] * pairs_of_a_kind
            folds += [fold] * pairs_of_a_kind
    return LfwLike(
        embeddings=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        labels=labels,
        pairs=ListedPairs(np.array(ids), np.array(is_same), np.array(folds)),
        people=people,
    )
