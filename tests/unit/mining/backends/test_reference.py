import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import BandConfig, MiningConfig, PositivesConfig
from pipeline.mining.backends import reference as scan_module
from tests.support.oracle import all_distances, in_band, mine, unit_vectors
from tests.unit.mining.samples import assert_same_triplets

BANDS = [
    BandConfig(mode="hard"),
    BandConfig(mode="semi_hard", margin=0.2),
    BandConfig(mode="positive_aware", ratio=0.9, offset=0.05),
    BandConfig(mode="range", low=0.3, high=1.1),
]


@st.composite
def corpora(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    num = draw(st.integers(2, 120))
    num_labels = draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = rng.integers(0, num_labels, num).astype(np.int32)
    labels[1] = labels[0]
    vectors = unit_vectors(rng, labels, draw(st.sampled_from([2, 8, 33])), draw(st.sampled_from([0.0, 0.3, 3.0])))
    dtype = draw(st.sampled_from([np.float32, np.float16]))
    return vectors.astype(dtype), labels


@settings(max_examples=60)
@given(corpora(), st.sampled_from(BANDS), st.integers(1, 3), st.sampled_from([1, 2, 5]))
def test_triplets_are_those_of_float64_brute_force(
    corpus: tuple[np.ndarray, np.ndarray], band: BandConfig, num_negatives: int, num_shards: int
) -> None:
    vectors, labels = corpus
    positives = PositivesConfig(max_per_anchor=None)
    config = MiningConfig(backend="reference", band=band, negatives_per_pair=num_negatives, positives=positives)
    triplets = mine(config, vectors, labels, num_shards, anchors_per_block=17)
    exact = all_distances(vectors)
    assert (np.diff(triplets.anchor_T) >= 0).all(), "sorted by anchor"
    ids = np.stack([triplets.anchor_T, triplets.positive_T, triplets.negative_T])
    assert ((ids >= 0) & (ids < len(labels))).all()
    assert len(np.unique(ids, axis=1).T) == len(triplets), "none twice"
    found: dict[tuple[int, int], list[int]] = {}
    for a, p, n, d_ap, d_an in zip(*vars(triplets).values(), strict=True):
        assert a != p and labels[a] == labels[p] and labels[a] != labels[n]
        assert in_band(band, exact[a, p], exact[a, [n]]).all(), "in its band, in float64"
        assert in_band(band, float(d_ap), np.array([float(d_an)])).all(), "in its band, by the published numbers"
        assert d_ap == np.float32(exact[a, p]) and abs(d_an - exact[a, n]) <= 3e-7
        found.setdefault((a, p), []).append(n)
    for a in range(len(labels)):
        for p in np.flatnonzero((labels == labels[a]) & (np.arange(len(labels)) != a)):
            clearly = (labels != labels[a]) & in_band(band, exact[a, p], exact[a] - 1e-6)
            clearly &= in_band(band, exact[a, p], exact[a] + 1e-6)
            chosen = found.get((a, int(p)), [])
            assert len(chosen) >= min(num_negatives, int(clearly.sum())), "every answerable pair is answered"
            missed = np.setdiff1d(np.flatnonzero(clearly), chosen)
            if chosen and len(missed):
                assert exact[a, chosen].max() <= exact[a, missed].min() + 1e-6, "and by the nearest"


@pytest.mark.parametrize("band", BANDS, ids=lambda band: str(band.mode))
@pytest.mark.parametrize("num_negatives", [1, 4])
def test_any_number_of_shards_gives_the_same_bits(band: BandConfig, num_negatives: int) -> None:
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 150, 1500).astype(np.int32)
    vectors = unit_vectors(rng, labels, 24, 1.0)
    vectors[100:140] = vectors[60:100]  # exact ties across labels
    config = MiningConfig(backend="reference", band=band, negatives_per_pair=num_negatives)
    whole = mine(config, vectors, labels, 1, anchors_per_block=1500)
    assert len(whole) > 1000
    for num_shards, block in ((2, 512), (5, 100)):
        assert_same_triplets(mine(config, vectors, labels, num_shards, block), whole)


def test_tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 50, 200).astype(np.int32)
    vectors = unit_vectors(rng, labels, 16, 1.5)
    config = MiningConfig(backend="reference", negatives_per_pair=2)
    whole = mine(config, vectors, labels)
    monkeypatch.setattr(scan_module, "CANDIDATES_PER_TILE", 37)
    monkeypatch.setattr(scan_module, "ANCHORS_PER_TILE", 5)
    monkeypatch.setattr(scan_module, "PAIRS_PER_TILE", 3)
    assert_same_triplets(mine(config, vectors, labels), whole)


def test_equal_vectors_everywhere_tie_by_id_in_bounded_memory() -> None:
    labels = np.repeat(np.arange(400), 10).astype(np.int32)
    vectors = np.ones((4000, 8), dtype=np.float32) / np.float32(np.sqrt(8))
    config = MiningConfig(
        backend="reference", band=BandConfig(mode="hard"), positives=PositivesConfig(policy="hardest")
    )
    triplets = mine(config, vectors, labels, 2)
    np.testing.assert_array_equal(triplets.negative_T, np.where(triplets.anchor_T < 10, 10, 0))


def test_ids_need_not_be_dense() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 30, 300).astype(np.int32)
    vectors = unit_vectors(rng, labels, 16, 1.0)
    ids = np.sort(rng.choice(10_000, 300, replace=False)).astype(np.int64)
    config = MiningConfig(backend="reference")
    dense, sparse = mine(config, vectors, labels, 3), mine(config, vectors, labels, 3, ids_N=ids)
    np.testing.assert_array_equal(ids[dense.negative_T], sparse.negative_T)
