import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import EvaluationConfig
from pipeline.errors import InputError
from pipeline.evaluation.splits import RateOverSplits, _deal, evaluate_splits, standard_error
from pipeline.evaluation.verification.protocol import OperatingPoint, evaluate_pairs
from tests.unit.evaluation.samples import unit_vectors

ALL = 10**9
FARS = (0.01, 0.1)


def config(num_splits: int, fars: tuple[float, ...] = FARS) -> EvaluationConfig:
    return EvaluationConfig(num_splits=num_splits, fars=fars, max_pairs=ALL)


def test_each_split_is_a_verification_of_its_own_and_the_mean_has_a_standard_error() -> None:
    embeddings, labels = unit_vectors(200, 30, noise=0.6, seed=0)
    measured = evaluate_splits(embeddings, labels, config(5), seed=3)
    splits = [np.isin(labels, dealt) for dealt in _deal(labels, 5, seed=3)]
    for rate, far in zip(measured.rates, FARS, strict=True):
        points = [evaluate_pairs(embeddings[split], labels[split], ALL, seed=0).at_far(far) for split in splits]
        assert rate.points == tuple(points)
        assert rate.val == pytest.approx(statistics.mean(point.val for point in points))
        assert rate.standard_error == pytest.approx(statistics.stdev(point.val for point in points) / math.sqrt(5))


def test_a_worked_example_of_a_standard_error_which_a_single_value_has_not() -> None:
    points = tuple(OperatingPoint(0.01, 1.0, val, 0.01) for val in (0.5, 0.6, 0.7))
    rate = RateOverSplits(0.01, points, (True,) * 3)
    assert rate.val == pytest.approx(0.6)
    assert rate.standard_error == pytest.approx(0.1 / math.sqrt(3))
    assert standard_error([0.5]) is None


@given(st.lists(st.integers(0, 30), min_size=1, max_size=120), st.integers(2, 6), st.integers(0, 2**32))
def test_labels_are_dealt_evenly_once_each(labels: list[int], num_splits: int, seed: int) -> None:
    splits = [set(split.tolist()) for split in _deal(np.array(labels), num_splits, seed)]
    assert sum(map(len, splits)) == len(set().union(*splits)) == len(set(labels))
    sizes = [len(split) for split in splits]
    with_pairs = [sum(labels.count(label) > 1 for label in split) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    assert max(with_pairs) - min(with_pairs) <= 1


def test_the_seed_deals() -> None:
    embeddings, labels = unit_vectors(200, 30, noise=0.6, seed=0)
    first, again, other = (evaluate_splits(embeddings, labels, config(5), seed).to_dict() for seed in (1, 1, 2))
    assert first == again != other


def test_splits_share_no_pair_and_keep_all_same_pairs() -> None:
    embeddings, labels = unit_vectors(200, 30, noise=0.6, seed=0)
    whole = evaluate_pairs(embeddings, labels, ALL, seed=0)
    measured = evaluate_splits(embeddings, labels, config(5), seed=0)
    assert sum(measured.num_same_pairs) == len(whole.same)
    assert sum(measured.num_different_pairs) < len(whole.different)
    assert sum(measured.num_labels) == 30


def test_rates_finer_than_a_split_resolves_are_reported_as_such() -> None:
    embeddings, labels = unit_vectors(60, 12, noise=0.6, seed=0)
    fine, coarse = evaluate_splits(embeddings, labels, config(3, (1e-6, 0.2)), seed=0).to_dict()["rates"]
    assert [split["is_resolved"] for split in fine["splits"]] == [False] * 3
    assert [split["actual_far"] for split in fine["splits"]] == [0.0] * 3
    assert [split["is_resolved"] for split in coarse["splits"]] == [True] * 3
    assert 0 < coarse["actual_far"] <= 0.2


def test_the_document_is_json_with_the_metrics_under_stable_names() -> None:
    measured = evaluate_splits(*unit_vectors(60, 12, noise=0.6, seed=0), config(3, (1e-3, 0.1)), seed=0)
    document = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert set(measured.metrics()) == {"split_val_at_far_1e-03", "split_val_at_far_1e-01"}
    assert measured.metrics().items() <= document.items()
    assert (document["num_splits"], len(document["rates"][0]["splits"])) == (3, 3)


def test_two_networks_are_compared_in_each_split() -> None:
    embeddings, labels = unit_vectors(100, 20, noise=0.6, seed=0)
    others = unit_vectors(100, 20, noise=0.6, seed=1)[0]
    alone = evaluate_splits(embeddings, labels, config(4), seed=0)
    both = evaluate_splits(embeddings, labels, config(4), seed=0, others_ND=others)
    assert both.num_same_pairs == tuple(2 * num for num in alone.num_same_pairs)
    assert both.metrics() != alone.metrics()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 1, 1, 2, 3], "split 2 of 3 has 1 labels and 2 examples"),
        ([0, 0, 1, 1, 2, 3, 4, 5], "split 3 of 3 has 2 labels and 2 examples"),
        ([0, 0, 1, 2, 3, 4], "split 2 of 3 has 2 labels and 2 examples"),
        ([0, 0, 1, 1], "split 1 of 3 has 1 labels and 2 examples"),
        ([], "split 1 of 3 has 0 labels and 0 examples"),
    ],
)
def test_a_split_without_both_kinds_of_pairs_is_named(labels: list[int], message: str) -> None:
    embeddings = np.eye(len(labels), 8, dtype=np.float32)
    with pytest.raises(InputError, match=f"{message}.*lower evaluation.num_splits"):
        evaluate_splits(embeddings, labels, config(3), seed=0)
