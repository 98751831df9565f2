import numpy as np
import pytest

from pipeline.config import AuditConfig
from pipeline.errors import AuditRefusedError
from pipeline.mining.audit.moments import Moments, audit, check_broken, check_yield
from tests.support.oracle import unit_vectors

RULES = AuditConfig()


def test_a_collapsed_encoder_is_refused_with_exit_code_3_and_its_figures() -> None:
    rng = np.random.default_rng(0)
    vectors = np.ones((500, 16), dtype=np.float32) / 4 + rng.normal(size=(500, 16)).astype(np.float32) * 1e-4
    with pytest.raises(
        AuditRefusedError, match=r"collapsed: .* nothing was published: .* a lower learning rate"
    ) as refusal:
        audit(Moments.of(vectors), 50, RULES)
    assert refusal.value.exit_code == 3
    assert refusal.value.figures["spread"] == pytest.approx(16 * 1e-8, rel=0.1)


def test_outputs_that_are_all_equal_are_refused_whatever_the_rank_that_rounding_gives_them() -> None:
    vectors = np.tile(np.array([0.6, 0.8], dtype=np.float32), (100, 1))
    with pytest.raises(AuditRefusedError, match=r"spread 0\.00e"):
        audit(Moments.of(vectors), 10, RULES)


def test_outputs_on_a_line_are_refused_though_they_are_spread_wide() -> None:
    rng = np.random.default_rng(0)
    direction = unit_vectors(rng, np.zeros(1, dtype=np.int32), 16, 0.0)
    vectors = rng.choice([-1.0, 1.0], size=(500, 1)).astype(np.float32) * direction
    with pytest.raises(AuditRefusedError, match=r"onto a line: embeddings of 50 labels have an effective rank of 1.00"):
        audit(Moments.of(vectors), 50, RULES)


def test_a_few_labels_may_lie_on_a_line_as_they_are_told_apart() -> None:
    vectors = np.repeat(np.array([[1, 0], [-1, 0]], dtype=np.float32), 50, axis=0)
    assert audit(Moments.of(vectors), 2, RULES).effective_rank == pytest.approx(1.0)


def test_spread_and_rank_are_those_of_the_covariance_and_shards_add_up() -> None:
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng, np.arange(4000, dtype=np.int32), 8, 0.0)
    whole = audit(Moments.of(vectors), 4000, RULES)
    parts = audit(Moments.of(vectors[:1000]) + Moments.of(vectors[1000:]), 4000, RULES)
    spread = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert whole.spread == pytest.approx(spread, rel=1e-5) == parts.spread
    assert 7.5 < whole.effective_rank <= 8.0


def test_a_diverged_encoder_is_refused_and_a_few_broken_embeddings_are_not() -> None:
    check_broken(1, 100, RULES)
    with pytest.raises(AuditRefusedError, match="diverged: 2 of 100 embeddings are NaN") as refusal:
        check_broken(2, 100, RULES)
    assert refusal.value.figures == {"broken_share": 0.02}
    with pytest.raises(AuditRefusedError, match="100 of 100"):
        check_broken(100, 100, RULES)


def test_a_band_that_runs_dry_is_refused_only_where_that_was_asked_for() -> None:
    check_yield(100, 100, RULES)
    check_yield(0, 0, RULES)
    wanted = AuditConfig(min_yield=0.5)
    check_yield(100, 50, wanted)
    with pytest.raises(AuditRefusedError, match=r"only 49 of 100 pairs .* widen mining.band"):
        check_yield(100, 51, wanted)
