import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.arrays import Float32Array, Int64Array
from pipeline.config import RecognitionConfig
from pipeline.errors import InputError
from pipeline.evaluation.identification import protocol as identification
from pipeline.evaluation.identification.protocol import (
    IdentificationReport,
    OpenSet,
    evaluate_identification,
)
from tests.unit.evaluation.samples import unit_vectors

CONFIG = RecognitionConfig()
DISTANCES = st.lists(st.integers(0, 12), min_size=1, max_size=30).map(
    lambda values: np.sort(np.array(values, dtype=np.float32) / np.float32(3))
)


def lattice(num_examples: int, num_labels: int, seed: int) -> tuple[Float32Array, Int64Array]:
    """Points of a small lattice: their distances are exact in any order of summation, and most are tied."""
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 2, size=(num_examples, 3)).astype(np.float32), rng.integers(num_labels, size=num_examples)


def squared_distance(a: Float32Array, b: Float32Array) -> float:
    return float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).sum())


def brute_force_ranks(vectors: Float32Array, labels: Int64Array, gallery: Int64Array, probes: Int64Array) -> list[int]:
    """By a stable sort of each probe's distances: what comes first in the gallery wins a tie."""
    ranks = []
    for probe in probes:
        by_distance = sorted(gallery, key=lambda entry: squared_distance(vectors[probe], vectors[entry]))
        ranks.append([labels[entry] for entry in by_distance].index(labels[probe]) + 1)
    return ranks


def drawn_gallery(labels: Int64Array, seed: int) -> Int64Array:
    return identification._sample_gallery(labels, np.random.default_rng(seed))


def has_two_pairs(labels: Int64Array) -> bool:
    return int((np.bincount(labels) >= 2).sum()) >= 2


def same_report(a: IdentificationReport, b: IdentificationReport) -> bool:
    return a.to_dict() == b.to_dict() and all(
        np.array_equal(getattr(a.open_set, kind), getattr(b.open_set, kind)) for kind in ("mated", "hits", "unmated")
    )


@given(st.integers(8, 40), st.integers(2, 8), st.integers(0, 2**32), st.booleans())
def test_ranks_are_those_of_a_float64_brute_force_with_ties_in_gallery_order(
    n: int, num_labels: int, seed: int, tied: bool
) -> None:
    vectors, labels = lattice(n, num_labels, seed) if tied else unit_vectors(n, num_labels, 1.0, seed)
    if not has_two_pairs(labels):
        return
    gallery = drawn_gallery(labels, seed)
    probes = np.array([i for i in range(n) if i not in gallery and labels[i] in labels[gallery]])
    found = identification._closed_set(vectors, labels, gallery, probes)
    assert found.ranks.tolist() == sorted(brute_force_ranks(vectors, labels, gallery, probes))
    assert found.gallery_size == len(gallery)


@given(st.integers(8, 40), st.integers(3, 8), st.integers(0, 2**32), st.booleans())
def test_the_open_set_is_that_of_a_float64_brute_force(n: int, num_labels: int, seed: int, tied: bool) -> None:
    vectors, labels = lattice(n, num_labels, seed) if tied else unit_vectors(n, num_labels, 1.0, seed)
    if not has_two_pairs(labels):
        return
    gallery = drawn_gallery(labels, seed)[::2]
    is_enrolled = np.isin(labels, labels[gallery])
    mated = np.setdiff1d(np.flatnonzero(is_enrolled), gallery)
    unmated = np.flatnonzero(~is_enrolled)
    found = identification._open_set(vectors, labels, gallery, mated, unmated)
    nearest = {
        probe: min(gallery, key=lambda entry, probe=probe: squared_distance(vectors[probe], vectors[entry]))  # type: ignore[misc]
        for probe in range(n)
    }
    distances = {probe: squared_distance(vectors[probe], vectors[entry]) for probe, entry in nearest.items()}
    hits = [probe for probe in mated if labels[nearest[probe]] == labels[probe]]
    for kind, probes in ((found.mated, mated), (found.hits, hits), (found.unmated, unmated)):
        np.testing.assert_allclose(kind, sorted(distances[probe] for probe in probes), rtol=1e-6, atol=1e-11)


@given(DISTANCES, st.data(), st.fractions(0, 1, max_denominator=40).map(float))
def test_dir_at_far_takes_the_largest_threshold_that_the_rate_allows(
    unmated: Float32Array, data: st.DataObject, far: float
) -> None:
    mated = data.draw(DISTANCES)
    is_hit = np.array(data.draw(st.lists(st.booleans(), min_size=len(mated), max_size=len(mated))))
    point = OpenSet(mated, mated[is_hit], unmated, 5).at_far(far)
    best = 0.0
    for threshold in (*mated, *unmated):
        if (unmated <= threshold).mean() <= far:
            best = max(best, float((is_hit & (mated <= threshold)).mean()))
    assert point.dir == best
    assert point.actual_far == float((unmated <= np.float32(point.threshold)).mean()) <= far


def test_a_worked_example() -> None:
    """Angles on a circle. Gallery: a at 0°, b at 90°. Probes of a at 10° and 80° (nearer b), of b at 100°."""
    degrees = np.radians([0, 90, 10, 80, 100, 30, 200])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    labels = np.array([7, 3, 7, 7, 3, 5, 6])  # 30° and 200° are strangers
    gallery, mated, strangers = np.array([0, 1]), np.array([2, 3, 4]), np.array([5, 6])
    closed = identification._closed_set(vectors, labels, gallery, mated)
    assert closed.ranks.tolist() == [1, 1, 2]
    assert [closed.rate(rank) for rank in (1, 2, 100)] == [2 / 3, 1.0, 1.0]
    found = identification._open_set(vectors, labels, gallery, mated, strangers)
    ten, thirty, far_off = (2 - 2 * np.cos(np.radians(angle)) for angle in (10, 30, 110))
    np.testing.assert_allclose(found.mated, [ten, ten, ten], rtol=1e-6)
    np.testing.assert_allclose(found.hits, [ten, ten], rtol=1e-6)
    np.testing.assert_allclose(found.unmated, [thirty, far_off], rtol=1e-6)
    point = found.at_far(0.4)  # neither stranger may raise an alarm
    assert (point.dir, point.actual_far, point.is_resolved) == (2 / 3, 0.0, False)
    assert point.threshold == pytest.approx(thirty, rel=1e-6)
    assert point.threshold < found.unmated[0]
    assert found.at_far(0.5).is_resolved


def test_each_label_with_two_examples_has_one_in_the_gallery_drawn_by_seed() -> None:
    labels = np.array([4, 9, 4, 2, 9, 9, 4, 8])
    galleries = [drawn_gallery(labels, seed) for seed in range(60)]
    for gallery in galleries:
        assert sorted(labels[gallery]) == [4, 9]
        assert gallery.tolist() == sorted(gallery)
    assert set(np.concatenate(galleries).tolist()) == {0, 2, 6, 1, 4, 5}  # any example may be drawn


def test_probes_are_counted_as_documented() -> None:
    labels = np.concatenate([np.repeat(np.arange(6), 4), np.arange(10, 20)])  # six labels of four, ten singletons
    vectors = unit_vectors(34, 5, 1.0, seed=0)[0]
    document = evaluate_identification(vectors, labels, CONFIG, seed=0).to_dict()
    assert (document["closed_set"]["gallery_size"], document["closed_set"]["num_probes"]) == (6, 18)
    open_set = document["open_set"]
    assert (open_set["gallery_size"], open_set["num_mated_probes"], open_set["num_unmated_probes"]) == (3, 9, 22)


def test_an_odd_label_stays_unknown_so_that_there_is_always_a_stranger() -> None:
    document = evaluate_identification(np.eye(6, dtype=np.float32), [0, 0, 1, 1, 2, 2], CONFIG, seed=0).to_dict()
    assert (document["open_set"]["gallery_size"], document["open_set"]["num_unmated_probes"]) == (1, 4)


def test_a_collapsed_encoder_identifies_by_chance_and_detects_nobody() -> None:
    labels = np.repeat(np.arange(20), 6)
    report = evaluate_identification(np.full((120, 4), 0.5, dtype=np.float32), labels, CONFIG, seed=0)
    metrics = report.metrics()
    # Every distance ties, so a mate's rank is its place in the gallery: k of 20 labels have rank k or better.
    assert [metrics[f"identification_at_rank_{k}"] for k in (1, 5, 10)] == [1 / 20, 5 / 20, 10 / 20]
    assert metrics["dir_at_far_1e-01"] == 0.0


def test_rates_rise_with_the_rank_up_to_one() -> None:
    closed = evaluate_identification(*unit_vectors(200, 30, 1.5, seed=1), CONFIG, seed=0).closed_set
    rates = [closed.rate(rank) for rank in range(closed.gallery_size + 1)]
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (0.0, 1.0)
    assert 0 < rates[1] < 1


def test_the_open_set_curve_passes_through_its_points_and_ends_at_the_rank_1_rate() -> None:
    open_set = evaluate_identification(*unit_vectors(400, 40, 1.0, seed=1), CONFIG, seed=0).open_set
    fars, dirs = open_set.curve(50)
    assert (np.diff(dirs) >= 0).all()
    assert dirs[-1] == len(open_set.hits) / len(open_set.mated) < 1
    assert dirs.tolist() == [open_set.at_far(far).dir for far in fars]


def test_the_seed_decides_everything() -> None:
    sample = unit_vectors(150, 30, 1.0, seed=3)
    config = RecognitionConfig(max_probes=20)
    first, again, other = (evaluate_identification(*sample, config, seed=seed) for seed in (1, 1, 2))
    assert same_report(first, again)
    assert not same_report(first, other)


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = unit_vectors(150, 30, 1.0, seed=3)
    whole = evaluate_identification(*sample, CONFIG, seed=0)
    monkeypatch.setattr(identification, "MAX_TILE_VALUES", 70)
    assert same_report(evaluate_identification(*sample, CONFIG, seed=0), whole)


def test_where_there_are_more_probes_so_many_are_drawn_and_counted() -> None:
    sample = unit_vectors(300, 30, 1.0, seed=3)
    whole = evaluate_identification(*sample, CONFIG, seed=0)
    part = evaluate_identification(*sample, RecognitionConfig(max_probes=25), seed=0)
    assert len(part.closed_set.ranks) == len(part.open_set.mated) == len(part.open_set.unmated) == 25
    assert set(part.open_set.mated.tolist()) <= set(whole.open_set.mated.tolist())
    document = part.to_dict()
    assert document["closed_set"]["num_probes"] == 270
    assert document["closed_set"]["num_measured_probes"] == 25


def test_memory_does_not_grow_with_probes_times_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identification, "MAX_TILE_VALUES", 100_000)
    vectors, labels = unit_vectors(12_000, 4_000, 1.0, seed=0)
    tracemalloc.start()
    evaluate_identification(vectors, labels, CONFIG, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6  # 8,000 × 3,600 distances alone would take 230 MB


@pytest.mark.parametrize(("labels", "message"), [([0, 0, 1, 2], "3 labels .* 4 .* 1 has"), ([0, 1, 2, 3], "0 has")])
def test_too_few_labels_with_two_examples_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_identification(np.eye(4, dtype=np.float32), labels, CONFIG, seed=0)
