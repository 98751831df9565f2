import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import AugmentConfig
from pipeline.errors import InputError
from pipeline.training.augment import Augment

HEIGHT, WIDTH = 20, 30
Image = npt.NDArray[np.float32]
IMAGE: Image = np.random.default_rng(0).uniform(-0.6, 0.6, (3, HEIGHT, WIDTH)).astype(np.float32)
EVERYTHING = AugmentConfig(mirror=0.5, shift=0.2, light=0.4, cover=0.5)


def changed(config: AugmentConfig, step: int = 0) -> Image:
    return Augment(config, seed=7)(IMAGE, step, 3)


@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 2**31), example=st.integers(0, 2**40))
def test_shape_type_and_range_stay_and_seed_step_and_example_decide(seed: int, step: int, example: int) -> None:
    before = IMAGE.copy()
    one, again = (Augment(EVERYTHING, seed)(IMAGE, step, example) for _ in range(2))
    assert one.shape == IMAGE.shape and one.dtype == np.float32 and np.abs(one).max() <= 1
    assert np.array_equal(one, again) and np.array_equal(IMAGE, before)


def test_steps_examples_and_seeds_draw_anew() -> None:
    found = {Augment(EVERYTHING, seed)(IMAGE, step, example).tobytes() for seed, step, example in np.ndindex(3, 3, 3)}
    assert len(found) == 27


def test_nothing_is_changed_by_default() -> None:
    assert not AugmentConfig().changes
    assert np.array_equal(changed(AugmentConfig()), IMAGE)


def test_a_certain_mirror_is_the_mirror_image() -> None:
    assert np.array_equal(changed(AugmentConfig(mirror=1.0)), IMAGE[:, :, ::-1])


def test_half_a_chance_mirrors_about_half() -> None:
    mirrored = [np.array_equal(changed(AugmentConfig(mirror=0.5), step), IMAGE[:, :, ::-1]) for step in range(200)]
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize("step", range(5))
def test_a_shift_moves_pixels_and_repeats_the_edge(step: int) -> None:
    found = changed(AugmentConfig(shift=0.3), step)
    rows, columns = np.arange(HEIGHT)[:, None], np.arange(WIDTH)
    shifts = [
        (y, x)
        for y in range(-6, 7)
        for x in range(-9, 10)
        if np.array_equal(found, IMAGE[:, np.clip(rows + y, 0, HEIGHT - 1), np.clip(columns + x, 0, WIDTH - 1)])
    ]
    assert len(shifts) == 1


def test_light_is_one_gain_and_one_lift_for_all_pixels() -> None:
    found = changed(AugmentConfig(light=0.2))
    gain, lift = np.polyfit(IMAGE.ravel().astype(np.float64), found.ravel().astype(np.float64), 1)
    assert np.allclose(found, IMAGE * gain + lift, atol=1e-5)
    assert 0.8 <= gain <= 1.2 and abs(lift) <= 0.2 and (gain, lift) != (1, 0)


@pytest.mark.parametrize("step", range(5))
def test_a_cover_greys_one_rectangle_of_the_documented_size(step: int) -> None:
    touched = (changed(AugmentConfig(cover=1.0), step) != IMAGE).any(axis=0)
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    assert (changed(AugmentConfig(cover=1.0), step)[:, touched] == 0).all()
    assert touched[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert HEIGHT / 8 - 1 <= len(rows) <= HEIGHT / 3 + 1 and WIDTH / 8 - 1 <= len(columns) <= WIDTH / 3 + 1


def test_one_setting_does_not_move_what_another_draws() -> None:
    shifted, covered_too = changed(AugmentConfig(shift=0.2)), changed(AugmentConfig(shift=0.2, cover=1.0))
    assert (shifted == covered_too).mean() > 0.8


def test_vectors_are_not_augmented_in_silence() -> None:
    with pytest.raises(InputError, match=r"training\.augment"):
        Augment(EVERYTHING, 0)(np.zeros(8, dtype=np.float32), 0, 0)
