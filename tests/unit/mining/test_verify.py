import numpy as np
import pytest

from pipeline.config import BandConfig, PositivesConfig
from pipeline.mining import verify
from pipeline.mining.merge import Nearest
from pipeline.mining.miner import make_queries
from pipeline.mining.positives import select_positives
from pipeline.mining.scan import Queries, scan
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from tests.unit.mining.oracle import unit_vectors
from tests.unit.mining.test_scan import BANDS


def world(band: BandConfig, dtype: type[np.floating] = np.float32) -> tuple[Shard, Queries]:
    labels = (np.arange(500) // 5).astype(np.int32)
    shard = Shard(np.arange(500), labels, unit_vectors(np.random.default_rng(3), labels, 20, 0.8).astype(dtype))
    groups, vectors = LabelGroups(shard.ids_N, labels), ShardedVectors([shard])
    pairs = select_positives(PositivesConfig(), vectors, groups, groups.anchors_A[::7], 0)
    return shard, make_queries(pairs, vectors, groups, band)


@pytest.mark.parametrize("band", BANDS, ids=lambda band: str(band.mode))
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_exact_scan_agrees_with_brute_force(
    band: BandConfig, dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_CANDIDATES_AT_ONCE", 64)
    shard, queries = world(band, dtype)
    agreement = verify.compare(scan(queries, shard, 3), verify.brute_force(queries, shard, 3))
    assert agreement.num_pairs == len(queries.row_P) > 100 and agreement.share == 1.0


def test_a_missed_or_farther_negative_is_seen() -> None:
    shard, queries = world(BandConfig())
    expected = verify.brute_force(queries, shard, 2)
    mined = scan(queries, shard, 2)
    answered = np.flatnonzero(expected.found_PM[:, 1])
    assert len(answered) > 3
    nothing, second = mined.d_an_PM.copy(), mined.d_an_PM.copy()
    nothing[answered[0]] = np.inf
    second[answered[1], 0] += 1e-3
    for wrong in (nothing, second):
        agreement = verify.compare(Nearest(wrong, mined.id_PM), expected)
        assert agreement.num_agreeing == agreement.num_pairs - 1
        assert agreement.share < 1.0


def test_a_sample_of_nothing_agrees() -> None:
    assert verify.compare(Nearest.empty(0, 1), Nearest.empty(0, 1)).share == 1.0
