import numpy as np
import numpy.typing as npt
import pytest

from pipeline.config import BandConfig, StalenessConfig
from pipeline.mining.staleness import Staleness, draw_listed, score_again

COORDINATES_ND = np.array([[0, 0], [1, 0], [0, 2], [3, 0]], dtype=np.float32)


def test_distances_are_those_between_the_vectors_that_are_given_now_and_each_example_is_embedded_once() -> None:
    asked: list[list[int]] = []

    def embed(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        asked.append(ids.tolist())
        return COORDINATES_ND[ids]

    d_ap, d_an = score_again(np.array([0, 1]), np.array([1, 0]), np.array([3, 2]), embed)
    assert (d_ap.tolist(), d_an.tolist()) == ([1.0, 1.0], [9.0, 5.0])
    assert asked == [[0, 1, 2, 3]]


def test_nothing_is_embedded_for_no_triplets() -> None:
    none = np.empty(0, dtype=np.int64)
    d_ap, d_an = score_again(none, none, none, lambda ids: pytest.fail(f"asked for {ids}"))
    assert Staleness.of(d_ap, d_an, BandConfig(), margin=0.2) == Staleness(0, 0.0, 0.0)


def test_the_edges_of_band_and_margin_do_not_count() -> None:
    d_ap, d_an = np.full(5, 0.5), np.array([0.25, 0.5, 0.625, 0.75, 1.0])
    found = Staleness.of(d_ap, d_an, BandConfig(mode="semi_hard", margin=0.25), margin=0.25)
    assert found == Staleness(5, active_share=3 / 5, in_band_share=1 / 5)


def test_a_sample_is_drawn_anew_for_each_seed_and_generation() -> None:
    drawn = {tuple(draw_listed(1000, 10, seed, number)) for seed in (0, 1) for number in (0, 1)}
    assert len(drawn) == 4
    assert all(rows == tuple(sorted(set(rows))) and len(rows) == 10 for rows in drawn)
    assert draw_listed(3, 10, 0, 0).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("config", "calls"),
    [
        (StalenessConfig(), False),
        (StalenessConfig(min_active_share=0.61, check_every_steps=1), True),
        (StalenessConfig(min_active_share=0.59, check_every_steps=1), False),
        (StalenessConfig(min_in_band_share=0.26, check_every_steps=1), True),
        (StalenessConfig(min_in_band_share=0.24, check_every_steps=1), False),
    ],
)
def test_too_small_a_share_calls_for_a_refresh(config: StalenessConfig, calls: bool) -> None:
    assert Staleness(20, 0.6, 0.25).calls_for_refresh(config) is calls
