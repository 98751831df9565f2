"""Bad vectors, through whole jobs: not finite, alone, twice there, or changed after they were embedded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.config import BandConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import EXAMPLES, LABELS
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.support.jobs import run, succeed, vectors
from tests.support.oracle import all_distances, in_band, unit_vectors
from tests.unit.corpus import samples

SEED, DIM, PER_LABEL, NUM_LABELS = 11, 16, 8, 50  # DIM as in tests.support.jobs.vectors
BAND = BandConfig(mode="semi_hard", margin=1.5)
FLAGS = (
    "--corpus.examples_per_part=150",
    f"--mining.band.margin={BAND.margin}",
    "--mining.positives.max_per_anchor=null",
)
BROKEN: dict[str, tuple[Callable[[npt.NDArray[np.float32]], object], str]] = {
    "nan": (lambda vector: [np.nan, *vector[1:]], "non_finite_vector"),
    "infinite": (lambda vector: [*vector[:-1], -np.inf], "non_finite_vector"),
    "too-long": (lambda vector: vector * 1e30, "non_finite_vector"),
    "zero": (np.zeros_like, "zero_vector"),
    "absent": (lambda vector: None, "no_vector"),
}
SINGLETONS = ("alone-0", "alone-1", "alone-2")
TWICE, TWINS = ("label-03", "label-03"), ("label-10", "label-20")
"""Labels of two examples each that have one and the same vector."""


def write_vectors(file: Path, seed: int = SEED) -> Path:
    """Clusters of unit vectors, with rows that are broken, labels of one example, and vectors that are there twice."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(NUM_LABELS), PER_LABEL).astype(np.int32)
    vectors = unit_vectors(rng, codes, DIM, 0.5)
    labels = [f"label-{code:02d}" for code in codes]
    for one, other in (TWICE, TWINS):
        first = labels.index(one)
        vectors[len(labels) - 1 - labels[::-1].index(other)] = vectors[first]
    rows: list[object] = [row.tolist() for row in vectors]
    for name, (spoil, _) in BROKEN.items():
        spoilt = spoil(vectors[0])
        rows.append(spoilt if spoilt is None else np.asarray(spoilt, dtype=np.float64).tolist())
        labels.append(f"of-{name}")
    rows += unit_vectors(rng, np.arange(len(SINGLETONS), dtype=np.int32), DIM, 0.5).tolist()
    labels += SINGLETONS
    ids = [*(f"v{i}" for i in range(len(codes))), *BROKEN, *SINGLETONS]
    return samples.write_vectors(file, rows, labels, id=ids)


@pytest.fixture(scope="module")
def mined(warm_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with these vectors, and the generation mined from them."""
    place = tmp_path_factory.mktemp("vectors")
    write_vectors(place / "vectors.parquet")
    print(f"seed {SEED}; injected: {list(BROKEN)}, {SINGLETONS}, {TWICE}, {TWINS}")
    succeed("prepare", *flags_of(place))
    succeed("mine", *flags_of(place))
    return place


def flags_of(place: Path, workspace: Path | None = None) -> tuple[str | Path, ...]:
    return (*vectors(place / "vectors.parquet"), *FLAGS, "--workspace", workspace or place / "w")


def opened(workspace: Path, name: str = "main") -> tuple[Corpus, pd.DataFrame, pd.DataFrame]:
    """The corpus, and the newest generation's triplets and quarantine."""
    place = Workspace.open(str(workspace), name)
    dataset = generations(place)
    generation = Generation(dataset, dataset.read(dataset.numbers()[-1]))
    return Corpus.open(place), generation.shard(0).to_pandas(), generation.quarantine().to_pandas()


def key_of(workspace: Path) -> str:
    """Where the embeddings of the newest generation are kept."""
    dataset = generations(Workspace.open(str(workspace), "main"))
    return dataset.read(dataset.numbers()[-1]).embeddings_key


def stored_vectors(workspace: Path, corpus: Corpus) -> npt.NDArray[np.floating]:
    parts = EmbeddingParts(Workspace.open(str(workspace), "main"), key_of(workspace))
    spans = [corpus.part_ids(part) for part in range(corpus.num_parts)]
    return np.concatenate([parts.read(part, span.start, len(span)) for part, span in enumerate(spans)])


def test_vectors_that_are_no_points_never_become_examples(mined: Path) -> None:
    place = Workspace.open(str(mined / "w"), "main")
    rows = samples.quarantined(place)
    assert {row["path"]: row["reason"] for row in rows} == {name: reason for name, (_, reason) in BROKEN.items()}
    assert not set(Corpus.open(place).label_names) & {f"of-{name}" for name in BROKEN}


def test_every_triplet_is_by_its_definition_whatever_stands_beside_it(mined: Path) -> None:
    corpus, triplets, _ = opened(mined / "w")
    exact, labels = all_distances(stored_vectors(mined / "w", corpus)), corpus.labels
    anchor, positive, negative = (triplets[role].to_numpy() for role in ("anchor", "positive", "negative"))
    assert (labels[anchor] == labels[positive]).all() and (anchor != positive).all()
    assert (labels[anchor] != labels[negative]).all()
    assert triplets["anchor"].is_monotonic_increasing and not triplets.duplicated().any()
    assert (triplets["d_ap"].to_numpy() == exact[anchor, positive].astype(np.float32)).all()
    np.testing.assert_allclose(triplets["d_an"], exact[anchor, negative], rtol=1e-6, atol=1e-7)
    answered = set(zip(anchor.tolist(), positive.tolist(), strict=True))
    for a in range(corpus.num_examples):
        for p in np.flatnonzero((labels == labels[a]) & (np.arange(len(labels)) != a)):
            inside = (labels != labels[a]) & in_band(BAND, exact[a, p], exact[a])
            if (a, int(p)) in answered:
                chosen = triplets[(anchor == a) & (positive == p)]["negative"].item()
                assert exact[a, chosen] <= exact[a, inside].min() + 1e-6, "the nearest one in its band"
            else:
                assert not inside.any() or np.ptp(exact[a, inside]) < 1e-6, "nothing to be had"


def test_an_example_that_is_alone_is_a_negative_at_most(mined: Path) -> None:
    corpus, triplets, quarantine = opened(mined / "w")
    alone = np.flatnonzero(np.isin(np.asarray(corpus.label_names)[corpus.labels], SINGLETONS))
    assert not np.isin(triplets[["anchor", "positive"]], alone).any()
    assert np.isin(triplets["negative"], alone).any()
    listed = quarantine[quarantine["reason"] == "singleton"]
    assert set(listed["example_id"]) == set(alone) and not listed["excluded"].any()


def test_a_vector_that_is_there_twice_is_a_positive_at_no_distance_or_a_suspect(mined: Path) -> None:
    corpus, triplets, quarantine = opened(mined / "w")
    vectors = stored_vectors(mined / "w", corpus)
    exact = all_distances(vectors)
    pairs = [(int(a), int(b)) for a, b in np.argwhere(np.triu(exact == 0, 1))]
    same = [pair for pair in pairs if corpus.labels[pair[0]] == corpus.labels[pair[1]]]
    (twins,) = set(pairs) - set(same)
    assert len(same) == 1
    for a, b in (same[0], same[0][::-1]):
        row = triplets[(triplets["anchor"] == a) & (triplets["positive"] == b)]
        assert len(row) == 1 and row["d_ap"].item() == 0.0 and row["d_an"].item() > 0.0
    suspects = quarantine[quarantine["reason"] == "near_duplicate_across_labels"]
    found = {tuple(sorted(pair)) for pair in suspects[["example_id", "other_id"]].astype(int).itertuples(index=False)}
    assert twins in found and not found & set(same)


def spoil_embeddings(workspace: Path) -> dict[int, float]:
    """Makes stored embeddings NaN, infinite or zero, as an encoder may; by id."""
    place = Workspace.open(str(workspace), "main")
    corpus, parts = Corpus.open(place), EmbeddingParts(place, key_of(workspace))
    ids = np.random.default_rng(SEED).choice(NUM_LABELS * PER_LABEL, 4, replace=False).tolist()
    spoilt = dict(zip(ids, (np.nan, np.inf, -np.inf, 0.0), strict=True))
    for part in range(corpus.num_parts):
        span = corpus.part_ids(part)
        vectors = parts.read(part, span.start, len(span)).astype(np.float32)
        for example_id, value in spoilt.items():
            if example_id in span:
                vectors[example_id - span.start, : DIM if value == 0 else 1] = value
        place.store.delete(f"{place.embeddings_prefix(parts.key)}/{part:06d}.parquet")
        parts.write(part, span.start, vectors, "float32")
    print(f"injected into embeddings: {spoilt}")
    return spoilt


def test_a_few_embeddings_that_are_no_points_are_left_out_and_named(mined: Path, tmp_path: Path) -> None:
    workspace = Path(shutil.copytree(mined / "w", tmp_path / "w"))
    broken = spoil_embeddings(workspace)
    finished = succeed("mine", *flags_of(mined, workspace), "--run=after")
    _, triplets, quarantine = opened(workspace, "after")
    assert not np.isin(triplets[["anchor", "positive", "negative"]], list(broken)).any() and len(triplets) > 1000
    left_out = quarantine[quarantine["reason"].isin(["non_finite_embedding", "zero_embedding"])]
    assert sorted(left_out["example_id"]) == sorted(broken) and left_out["excluded"].all()
    counts = finished.report["generation"]["quarantined"]
    assert (counts["non_finite_embedding"], counts["zero_embedding"]) == (3, 1)
    assert finished.report["generation"]["agreement"] == 1.0


@pytest.mark.parametrize("role", [LABELS, EXAMPLES])
def test_a_corpus_whose_bytes_changed_is_not_mined(mined: Path, tmp_path: Path, role: str) -> None:
    workspace = Path(shutil.copytree(mined / "w", tmp_path / "w"))
    part = Corpus.open(Workspace.open(str(workspace), "main")).manifest.parts_of(role)[0]
    content = bytearray((workspace / part.key).read_bytes())
    content[len(content) // 2] ^= 1
    (workspace / part.key).write_bytes(content)
    print(f"injected: a flipped bit in {part.key}")
    if role == EXAMPLES:  # what was embedded from the whole part before the change stays valid, and is mined from
        shutil.rmtree(workspace / "embeddings")
    refused = run("mine", *flags_of(mined, workspace), "--mining.band.mode=hard")
    assert refused.code == 4 and part.key in refused.words and "SHA-256" in refused.words
    assert generations(Workspace.open(str(workspace), "main")).numbers() == [0]


def test_a_corpus_that_took_the_place_of_the_one_embedded_is_embedded_anew_and_old_ids_mean_nothing(
    mined: Path, tmp_path: Path
) -> None:
    workspace = Path(shutil.copytree(mined / "w", tmp_path / "w"))
    before, key = Corpus.open(Workspace.open(str(workspace), "main")), key_of(workspace)
    shutil.rmtree(workspace / "corpus")
    write_vectors(tmp_path / "vectors.parquet", SEED + 1)
    flags = flags_of(tmp_path, workspace)
    succeed("prepare", *flags)
    after = Corpus.open(Workspace.open(str(workspace), "main"))
    assert (after.manifest.number, after.labels.tolist()) == (0, before.labels.tolist()), "the same but for the vectors"
    assert after.fingerprint != before.fingerprint

    refused = run("triplets", "verify", "--workspace", workspace, "--generation", "0")
    assert refused.code == 2 and "was mined from a corpus that is not in" in refused.words
    succeed("mine", *flags)
    assert generations(Workspace.open(str(workspace), "main")).numbers() == [0, 1]
    assert key_of(workspace) != key, "no vector of the other corpus was served"
    source = pq.read_table(tmp_path / "vectors.parquet").to_pandas().set_index("id")["vector"]
    paths = [path for part in range(after.num_parts) for path in after.read_paths(part)]
    wanted = np.stack(source.loc[paths].to_list())
    np.testing.assert_allclose(stored_vectors(workspace, after), wanted, atol=1e-6)
