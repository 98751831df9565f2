"""Corpora with labels that are known to be wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.reader import Corpus


@dataclass(frozen=True)
class Shuffled:
    """A source with a share of its labels shuffled.

    Attributes:
        file: Parquet, for ``corpus.source.kind parquet``.
        true_labels: By path.
    """

    file: Path
    true_labels: dict[str, str]

    def is_wrong(self, corpus: Corpus) -> npt.NDArray[np.bool_]:
        """Which examples of the corpus made from it have another label than the true one, bool, shape (N,)."""
        paths = [path for part in range(corpus.num_parts) for path in corpus.read_paths(part)]
        labels = np.asarray(corpus.label_names, dtype=object)[corpus.labels]
        return np.array([self.true_labels[path] != label for path, label in zip(paths, labels, strict=True)])


def shuffle_labels(corpus: Corpus, share: float, seed: int, file: Path, min_images: int = 1) -> Shuffled:
    """Writes the images of labels that have so many, with the labels of a random share of them handed round."""
    table = pa.concat_tables(corpus.read_part(part) for part in range(corpus.num_parts))
    has_enough = np.bincount(corpus.labels)[corpus.labels] >= min_images
    table = table.filter(pa.array(has_enough))
    true = np.array(table["label"].to_pylist(), dtype=object)
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(true), round(share * len(true)), replace=False)
    given = true.copy()
    given[rows] = true[rng.permutation(rows)]
    images = table["image"].combine_chunks()
    pq.write_table(pa.table({"label": pa.array(given.tolist()), "image": images}), file, row_group_size=1024)
    return Shuffled(file, dict(zip(images.field("path").to_pylist(), true.tolist(), strict=True)))
