"""A sample of a generation's triplets, by seed, over all of its shards."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.triplets.reader import Generation
from pipeline.triplets.schema import TRIPLETS

_STREAM = 0x696E7370656374  # separates these random numbers from others of the same seed


def sample_rows(num_triplets: int, num: int, seed: int, generation: int) -> npt.NDArray[np.int64]:
    """At most ``num`` different rows of ``num_triplets``, int64, ascending; each is as likely as any other."""
    rng = np.random.default_rng((_STREAM, seed, generation))
    return np.sort(rng.choice(num_triplets, size=min(num, num_triplets), replace=False))


def sample_triplets(generation: Generation, num: int, seed: int) -> pa.Table:
    """At most ``num`` triplets in the schema TRIPLETS, in the order of their rows; shards without one are not read.

    Raises:
        CorruptDataError: A part is not what was published.
        InputError: The generation was removed meanwhile.
    """
    sizes = [part.num_rows for part in generation.manifest.parts_of("triplets")]
    rows, first = sample_rows(sum(sizes), num, seed, generation.number), 0
    sampled = [TRIPLETS.empty_table()]
    for index, size in enumerate(sizes):
        chosen = rows[(rows >= first) & (rows < first + size)] - first
        if len(chosen):
            sampled.append(generation.shard(index).replace_schema_metadata(None).take(chosen))
        first += size
    return pa.concat_tables(sampled)
