import numpy as np
import pytest

from pipeline.errors import AuditRefusedError
from pipeline.mining.audit import Moments, audit
from tests.unit.mining.oracle import unit_vectors


def test_a_collapsed_encoder_is_refused_with_exit_code_3() -> None:
    rng = np.random.default_rng(0)
    vectors = np.ones((500, 16), dtype=np.float32) / 4 + rng.normal(size=(500, 16)).astype(np.float32) * 1e-4
    with pytest.raises(AuditRefusedError, match="collapsed") as refusal:
        audit(Moments.of(vectors), min_spread=1e-4)
    assert refusal.value.exit_code == 3


def test_spread_and_rank_are_those_of_the_covariance_and_shards_add_up() -> None:
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng, np.arange(4000, dtype=np.int32), 8, 0.0)
    whole = audit(Moments.of(vectors), 1e-4)
    parts = audit(Moments.of(vectors[:1000]) + Moments.of(vectors[1000:]), 1e-4)
    spread = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert whole.spread == pytest.approx(spread, rel=1e-5) == parts.spread
    assert 7.5 < whole.effective_rank <= 8.0
    flat = vectors.copy()
    flat[:, 1:] = 0.0
    assert audit(Moments.of(flat), 1e-9).effective_rank == pytest.approx(1.0)
