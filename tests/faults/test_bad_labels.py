"""A tenth of the labels shuffled: what is learned all the same, and what the audit says of the wrong ones."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.transform import Transform
from pipeline.encoders.checkpoints import checkpoints, config_of, load_encoder
from pipeline.inspection.generation import open_generation
from pipeline.storage.workspace import Workspace
from tests.support.jobs import batch, glyphs, parquet, rounds, succeed
from tests.support.label_noise import shuffle_labels

SHARE, SEED = 0.1, 1
CHARACTERS = glyphs(150, 24)
TRAINING = (
    *rounds(160, 80), *batch(24, 3), "--training.optimiser.warmup_steps=10", "--mining.positives.max_per_anchor=4",
    "--cluster.num_actors=1",
)  # fmt: skip
FLOOR, PRECISION = 0.85, 0.8
"""Recall@1 by the true labels (0.91 when this was written; untrained 0.67), and the share of wrong ones among the first
suspects (1.00 then)."""


def recall_at_1(place: Path, step: int, examples: npt.NDArray[np.bool_], truth: npt.NDArray[np.object_]) -> float:
    """Share of some examples whose nearest other one among them has their true label."""
    workspace = Workspace.open(str(place), "main")
    corpus, dataset = Corpus.open(workspace), checkpoints(workspace)
    manifest = dataset.read(step)
    config = config_of(manifest, RunConfig())
    encoder = load_encoder(dataset, manifest, config.encoder, config.transform, "cpu")
    images = [one["bytes"].as_py() for part in range(corpus.num_parts) for one in corpus.read_part(part)["image"]]
    transform = Transform(config.transform)
    batch = np.stack([transform(images[row]) for row in np.flatnonzero(examples)])
    with torch.inference_mode():
        vectors = encoder(torch.from_numpy(batch)).numpy()
    products = vectors @ vectors.T
    np.fill_diagonal(products, -np.inf)
    labels = truth[examples]
    return float((labels[products.argmax(axis=1)] == labels).mean())


def test_with_a_tenth_of_the_labels_wrong_training_still_tells_labels_apart_and_the_audit_lists_them(
    warm_ray: None, tmp_path: Path
) -> None:
    succeed("prepare", *CHARACTERS, "--workspace", tmp_path / "true")
    shuffled = shuffle_labels(
        Corpus.open(Workspace.open(str(tmp_path / "true"), "main")), SHARE, SEED, tmp_path / "shuffled.parquet"
    )
    place = tmp_path / "w"
    flags = (*CHARACTERS, *parquet(shuffled.file), "--workspace", place)
    succeed("prepare", *flags)
    succeed("loop", *flags, *TRAINING)

    generation = open_generation(Workspace.open(str(place), "main"))
    corpus = generation.corpus
    is_wrong, is_train = shuffled.is_wrong(corpus), ~corpus.is_test
    paths = [path for part in range(corpus.num_parts) for path in corpus.read_paths(part)]
    truth = np.array([shuffled.true_labels[path] for path in paths], dtype=object)
    unseen = corpus.is_test & ~is_wrong
    untrained, trained = (recall_at_1(place, step, unseen, truth) for step in (0, 160))
    listed = generation.reader.quarantine().to_pandas().query("reason == 'label_noise_suspect'")["example_id"]
    first = listed.to_numpy()[: int(is_train.sum()) // 50]
    precision = float(is_wrong[first].mean())
    print(
        f"seed {SEED}: {is_wrong[is_train].sum()} of {is_train.sum()} training labels wrong; recall@1 of "
        f"{unseen.sum()} unseen examples {untrained:.3f} -> {trained:.3f}; precision of the first "
        f"{len(first)} suspects {precision:.2f}, of all {len(listed)} {is_wrong[listed].mean():.2f}"
    )
    assert trained >= FLOOR > untrained + 0.1
    assert precision >= PRECISION
