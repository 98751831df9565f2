"""A linear support vector machine for many labels, one against the rest. N: examples, D: dimension, L: labels."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize  # type: ignore[import-untyped]

from pipeline.arrays import Float32Array, Int64Array

# At most so many of the N×L margins are in memory at a time.
MAX_TILE_VALUES = 4_000_000
# L-BFGS ends when a step lowers the loss by less than this share.
TOLERANCE = 1e-5


class LinearSvm:
    """The machine that scikit-learn's LinearSVC trains: squared hinge loss, the intercept penalised as a weight.

    The problems of all labels of a tile are solved as one, by L-BFGS over matrix products, where liblinear goes through
    the examples singly for each label. A fold of LFW's 901 labels takes 4 s of one core instead of 10, at the same
    accuracy.

    Attributes:
        classes_: (L,) the labels.
        weights_: (D + 1, L) float32, the intercepts last.
        n_iter_: Iterations of the slowest tile.
    """

    def __init__(self, penalty: float, max_iter: int = 1000) -> None:
        """Sets C, by which the loss is multiplied, and the most iterations."""
        self.penalty = penalty
        self.max_iter = max_iter

    def fit(self, vectors_ND: Float32Array, labels_N: npt.NDArray[np.generic]) -> "LinearSvm":
        """Trains on (N, D) float32 vectors and their labels, two or more distinct ones."""
        self.classes_, codes = np.unique(labels_N, return_inverse=True)
        inputs_NE = _with_ones(vectors_ND)
        self.weights_ = np.empty((inputs_NE.shape[1], len(self.classes_)), dtype=np.float32)
        self.n_iter_ = 0
        tile_size = max(1, MAX_TILE_VALUES // len(codes))
        for start in range(0, len(self.classes_), tile_size):
            tile = np.arange(start, min(start + tile_size, len(self.classes_)))
            self.weights_[:, tile] = self._fit_tile(inputs_NE, codes, tile)
        return self

    def decision_function(self, vectors_ND: Float32Array) -> Float32Array:
        """(N, L) float32; the largest of a row is the answer."""
        return _with_ones(vectors_ND) @ self.weights_

    def score(self, vectors_ND: Float32Array, labels_N: npt.NDArray[np.generic]) -> float:
        """The share of examples that are named rightly; of equal decisions, the first label's counts."""
        return float((self.classes_[self.decision_function(vectors_ND).argmax(axis=1)] == labels_N).mean())

    def _fit_tile(self, inputs_NE: Float32Array, codes_N: Int64Array, tile: Int64Array) -> Float32Array:
        shape = (inputs_NE.shape[1], len(tile))
        signs_NL = np.where(codes_N[:, None] == tile, np.float32(1), np.float32(-1))

        def loss_and_gradient(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            violations_NL = inputs_NE @ flat.reshape(shape).astype(np.float32)
            violations_NL *= signs_NL
            np.subtract(1, violations_NL, out=violations_NL)
            np.maximum(violations_NL, 0, out=violations_NL)
            squares = np.einsum("nl,nl->n", violations_NL, violations_NL).sum(dtype=np.float64)
            violations_NL *= signs_NL
            gradient = flat - 2 * self.penalty * (inputs_NE.T @ violations_NL).ravel()
            return 0.5 * float(flat @ flat) + self.penalty * float(squares), gradient

        first = np.zeros(shape)
        first[-1] = -1  # nearly all examples are of the rest
        options = {"maxiter": self.max_iter, "ftol": TOLERANCE, "gtol": 0.0}
        solution = minimize(loss_and_gradient, first.ravel(), jac=True, method="L-BFGS-B", options=options)
        self.n_iter_ = max(self.n_iter_, int(solution.nit))
        return solution.x.reshape(shape).astype(np.float32)  # type: ignore[no-any-return]


def _with_ones(vectors_ND: Float32Array) -> Float32Array:
    return np.column_stack([vectors_ND, np.ones(len(vectors_ND), dtype=np.float32)]).astype(np.float32, copy=False)
