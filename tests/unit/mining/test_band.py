import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import BandConfig
from pipeline.mining.band import band_bounds


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


def test_each_mode_has_its_bounds() -> None:
    d_ap = np.array([0.5])
    assert [float(b[0]) for b in band_bounds(BandConfig(mode="hard"), d_ap)] == [-np.inf, np.inf]
    aware = BandConfig(mode="positive_aware", ratio=2.0, offset=0.25)
    assert [float(b[0]) for b in band_bounds(aware, d_ap)] == [1.25, np.inf]
    assert [float(b[0]) for b in band_bounds(BandConfig(mode="range", low=0.5, high=1.5), d_ap)] == [0.5, 1.5]
