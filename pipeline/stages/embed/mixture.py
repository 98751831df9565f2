"""Which examples stand with their old vectors in the mining of a harmonic run, and what is asked of these."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import FloatArray, Int64Array
from pipeline.errors import InputError
from pipeline.mining.sampling import hash_ids

_OLD_STREAM = 0x6861726D6F6E6963  # not the draw that samples candidates


@dataclass(frozen=True)
class Mixture:
    """A mining pass in which some examples stand with their old vectors.

    Attributes:
        key: Of the old embeddings.
        share: Of the examples.
    """

    key: str
    share: float


def sample_seed(seed: int, step: int) -> int:
    """Seeds what one mining pass draws: by the run's seed and the checkpoint's step."""
    return seed * 2**32 + step


def is_old(ids_N: Int64Array, share: float, draw: int) -> npt.NDArray[np.bool_]:
    """Which examples stand with their old vector: a draw by id alone, so that shards and machines do not matter.

    Args:
        ids_N: example_id, int64, shape (N,).
        share: Of the examples, in [0, 1].
        draw: See ``sample_seed``.

    Returns:
        bool, shape (N,).
    """
    hash_N = hash_ids(draw, ids_N, np.full_like(ids_N, _OLD_STREAM))
    chosen: npt.NDArray[np.bool_] = (hash_N >> np.uint64(11)) * 2.0**-53 < share  # 53 bits: exact, and below 1
    return chosen


def check_usable(ids_N: Int64Array, vectors_ND: FloatArray) -> None:
    """Refuses old vectors that nothing can be compared with.

    Raises:
        InputError: One is not finite, or zero.
    """
    lengths = np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float32)
    broken = ids_N[~(np.isfinite(lengths) & (lengths > 0.25))]  # encoders give unit vectors
    if len(broken):
        raise InputError(
            f"the old encoder gave no usable vector (NaN, infinity or zero) for {len(broken)} training example(s), the "
            f"first of them example {broken[0]}: take another harmonic.checkpoint, or leave them out of the corpus"
        )
