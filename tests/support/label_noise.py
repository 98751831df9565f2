"""Corpora with labels that are known to be wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

from pipeline.corpus.reader import Corpus
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.storage.workspace import Workspace
from tests.support.jobs import parquet, succeed

SHARE, SEED = 0.05, 1
"""Of the labels that ``trained_on_shuffled`` shuffles."""


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


def trained_on_shuffled(
    place: Path, config: str, source: tuple[str, ...] = (), training: tuple[str, ...] = (), min_images: int = 1
) -> tuple[OpenGeneration, Shuffled]:
    """A run on shuffled labels, and the generation of its last checkpoint."""
    succeed("prepare", "--config", config, "--workspace", place / "true", *source)
    corpus = Corpus.open(Workspace.open(str(place / "true"), "main"))
    truth = shuffle_labels(corpus, SHARE, SEED, place / "s.parquet", min_images)
    flags: tuple[str | Path, ...] = (
        "--config",
        config,
        "--workspace",
        place / "w",
        *parquet(truth.file),
        *training,
    )
    succeed("prepare", *flags)
    succeed("loop", *flags)
    succeed("mine", *flags)  # of the last checkpoint, which the loop has no use for
    return open_generation(Workspace.open(str(place / "w"), "main")), truth


def judge(generation: OpenGeneration, truth: Shuffled) -> dict[str, float]:
    """Precision of the label-noise list's first per cent of the training examples, and its average precision."""
    corpus = generation.corpus
    is_wrong, is_train = truth.is_wrong(corpus), ~corpus.is_test
    listed = generation.reader.quarantine().to_pandas().query("reason == 'label_noise_suspect'")
    ids, score = listed["example_id"].to_numpy(), np.full(corpus.num_examples, -1.0)
    score[ids] = listed["score"]
    first = ids[: int(is_train.sum()) // 100]
    return {
        "precision_in_first_per_cent": float(is_wrong[first].mean()),
        "average_precision": float(average_precision_score(is_wrong[is_train], score[is_train])),
        "precision": float(is_wrong[ids].mean()),
        "recall": float(is_wrong[ids].sum() / is_wrong[is_train].sum()),
    }
