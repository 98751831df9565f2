from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import BandConfig, MiningConfig
from pipeline.inspection.query.predicates import in_band
from pipeline.inspection.summary.summary import format_band
from pipeline.mining.backends.registry import BACKENDS
from pipeline.mining.band import MODES, Mode, band_bounds
from pipeline.mining.in_memory import mine_whole
from pipeline.mining.shards import Shard
from pipeline.mining.staleness import Staleness
from tests.support.oracle import all_distances, unit_vectors


@given(st.floats(0.0, 4.0), st.floats(1e-6, 4.0), st.floats(0.0, 4.0))
def test_a_float32_between_the_bounds_is_inside_the_float64_band(d_ap: float, margin: float, d_an: float) -> None:
    lower, upper = band_bounds(BandConfig(margin=margin), np.array([d_ap]))
    rounded = np.float32(d_an)
    if lower[0] < rounded < upper[0]:
        # Whatever float64 distance rounds to it, and by the float32 d_ap that is published.
        neighbours = np.nextafter(rounded, np.array([-np.inf, np.inf], dtype=np.float32)).astype(np.float64)
        nearest_exact = (np.float64(rounded) + neighbours) / 2
        assert (nearest_exact >= d_ap).all() and (nearest_exact <= d_ap + margin).all()
        assert np.float32(d_ap) < rounded and float(rounded) < float(np.float32(d_ap)) + margin


def test_the_config_names_every_mode_of_the_table_and_no_other() -> None:
    assert set(get_args(BandConfig.model_fields["mode"].annotation)) == set(MODES)


@pytest.mark.parametrize(
    "backend",
    [name for name, entry in BACKENDS.items() if not entry.needs_gpu and entry.unavailable_reason() is None],
)
def test_a_new_mode_of_the_table_is_found_everywhere(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of CONTRIBUTING.md, with a mode that wants what semi_hard finds too easy."""
    new = Mode(lambda band, d_ap_P: (d_ap_P + band.margin, np.inf), lambda band: f"d_an > d_ap + {band.margin:g}")
    monkeypatch.setitem(MODES, "beyond", new)
    band = BandConfig(margin=0.3).model_copy(update={"mode": "beyond"})
    labels = np.repeat(np.arange(20, dtype=np.int32), 5)
    vectors = unit_vectors(np.random.default_rng(0), labels, 8, 0.5)
    config = MiningConfig.model_validate({"backend": backend}).model_copy(update={"band": band})
    mined = mine_whole(Shard(np.arange(100), labels, vectors), config)
    d_NN = all_distances(vectors)
    pairs = [(a, p) for a in range(100) for p in range(100) if a != p and labels[a] == labels[p]]
    wanted = {(a, p): d_NN[a][(labels != labels[a]) & (d_NN[a] > d_NN[a, p] + 0.3)] for a, p in pairs}
    nearest = {pair: d.min() for pair, d in wanted.items() if len(d)}
    found = dict(zip(zip(mined.anchor_T.tolist(), mined.positive_T.tolist(), strict=True), mined.d_an_T, strict=True))
    assert found == pytest.approx(nearest, abs=1e-6) and len(found) > 100
    assert in_band(band, mined.d_ap_T, mined.d_an_T).all() and not in_band(band, mined.d_ap_T, mined.d_ap_T).any()
    staleness = Staleness.of(mined.d_ap_T.astype(np.float64), mined.d_an_T.astype(np.float64), band, 0.2)
    assert staleness.in_band_share == 1.0
    assert format_band(band) == "beyond: d_an > d_ap + 0.3"
