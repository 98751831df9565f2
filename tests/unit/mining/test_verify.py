import numpy as np
import numpy.typing as npt
import pytest

from pipeline.config import BandConfig, PositivesConfig
from pipeline.mining import verify
from pipeline.mining.backends.reference import scan
from pipeline.mining.positives import select_positives
from pipeline.mining.queries import Queries, build_queries
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from tests.support.oracle import unit_vectors
from tests.unit.mining.backends.test_reference import BANDS


def agreement_of(shard: Shard, queries: Queries, mined: Nearest, expected: Nearest) -> verify.Agreement:
    groups = LabelGroups(shard.ids_N, shard.labels_N)
    return verify.compare(mined, verify.check_consistency(queries, mined, ShardedVectors([shard]), groups), expected)


def world(band: BandConfig, dtype: type[np.floating] = np.float32) -> tuple[Shard, Queries, npt.NDArray[np.int64]]:
    labels = (np.arange(500) // 5).astype(np.int32)
    shard = Shard(np.arange(500), labels, unit_vectors(np.random.default_rng(3), labels, 20, 0.8).astype(dtype))
    groups, vectors = LabelGroups(shard.ids_N, labels), ShardedVectors([shard])
    pairs = select_positives(PositivesConfig(), vectors, groups, groups.anchors_A[::7], 0)
    return shard, build_queries(pairs, vectors, groups, band), pairs.positive_P


@pytest.mark.parametrize("band", BANDS, ids=lambda band: str(band.mode))
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_exact_scan_agrees_with_brute_force(
    band: BandConfig, dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_CANDIDATES_AT_ONCE", 64)
    shard, queries, _ = world(band, dtype)
    agreement = agreement_of(shard, queries, scan(queries, shard, 3), verify.brute_force(queries, shard, 3))
    assert agreement.num_pairs == len(queries.row_P) > 100 and agreement.share == 1.0


def test_a_missed_or_farther_negative_is_seen() -> None:
    shard, queries, _ = world(BandConfig())
    expected = verify.brute_force(queries, shard, 2)
    mined = scan(queries, shard, 2)
    answered = np.flatnonzero(expected.found_PM[:, 1])
    assert len(answered) > 3
    nothing, second = mined.d_an_PM.copy(), mined.d_an_PM.copy()
    nothing[answered[0]] = np.inf
    second[answered[1], 0] += 1e-3
    for wrong in (nothing, second):
        agreement = agreement_of(shard, queries, Nearest(wrong, mined.id_PM), expected)
        assert agreement.num_agreeing == agreement.num_pairs - 1
        assert agreement.share < 1.0


def test_a_sample_of_nothing_agrees() -> None:
    assert verify.compare(Nearest.empty(0, 1), np.ones(0, dtype=bool), Nearest.empty(0, 1)).share == 1.0


def test_an_answer_that_is_not_what_it_says_is_seen() -> None:
    shard, queries, positive_P = world(BandConfig())
    mined, expected = scan(queries, shard, 2), verify.brute_force(queries, shard, 2)
    row = int(np.flatnonzero(mined.found_PM[:, 1])[0])
    hard = scan(world(BandConfig(mode="hard"))[1], shard, 2)
    changes = {
        "no such example": (row, 0, 10**6, None),
        "its own label": (row, 0, int(positive_P[row]), float(queries.lower_P[row])),
        "another distance": (row, 0, None, float(mined.d_an_PM[row, 0]) - 1e-4),
        "the same one twice": (row, 1, int(mined.id_PM[row, 0]), float(mined.d_an_PM[row, 0])),
        "nearer than the band": (row, 0, int(hard.id_PM[row, 0]), float(hard.d_an_PM[row, 0])),
    }
    for what, (pair, place, negative, distance) in changes.items():
        wrong = Nearest(mined.d_an_PM.copy(), mined.id_PM.copy())
        if negative is not None:
            wrong.id_PM[pair, place] = negative
        if distance is not None:
            wrong.d_an_PM[pair, place] = distance
        agreement = agreement_of(shard, queries, wrong, expected)
        assert agreement.num_agreeing == agreement.num_pairs - 1, what
