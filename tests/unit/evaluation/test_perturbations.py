import io
import pickle
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

from pipeline.config import RobustnessConfig
from pipeline.evaluation.robustness.perturbations import Perturbation, perturbation_sweeps

ALL = [perturbation for sweep in perturbation_sweeps(RobustnessConfig()).values() for perturbation in sweep]
MODES = ("L", "RGB")


def photo(mode: str = "RGB", width: int = 96, height: int = 80) -> Image.Image:
    """Something with coarse and fine structure."""
    rng = np.random.default_rng(0)
    coarse, fine = (rng.normal(size=(height, width, 3)) for _ in range(2))
    coarse = gaussian_filter(coarse, (8, 8, 0))
    pixels = 128 + 50 * coarse / coarse.std() + 8 * fine
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def pixels(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image).astype(np.float64)


def perturb(image: Image.Image, sweep: str, value: float, seed: int = 0) -> npt.NDArray[np.float64]:
    return pixels(Perturbation(sweep, value).apply(image, seed))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("perturbation", ALL, ids=lambda perturbation: perturbation.name)
def test_size_and_mode_stay_and_the_given_image_is_left_as_it_is(perturbation: Perturbation, mode: str) -> None:
    image = photo(mode)
    perturbed = perturbation.apply(image, seed=3)
    assert (perturbed.size, perturbed.mode) == (image.size, mode)
    np.testing.assert_array_equal(pixels(image), pixels(photo(mode)))
    perturbed.paste(0, (0, 0, *perturbed.size))
    np.testing.assert_array_equal(pixels(image), pixels(photo(mode)))


@pytest.mark.parametrize("perturbation", ALL, ids=lambda perturbation: perturbation.name)
def test_a_perturbation_that_has_travelled_perturbs_the_same_way(perturbation: Perturbation) -> None:
    there = pickle.loads(pickle.dumps(perturbation))
    assert there == perturbation
    assert hash(there) == hash(perturbation)
    alter = pickle.loads(pickle.dumps(partial(perturbation.apply, seed=5)))
    np.testing.assert_array_equal(pixels(alter(photo())), pixels(perturbation.apply(photo(), 5)))


@pytest.mark.parametrize("perturbation", ALL, ids=lambda perturbation: perturbation.name)
def test_the_seed_decides_what_is_drawn_and_nothing_else(perturbation: Perturbation) -> None:
    first, same, other = (pixels(perturbation.apply(photo(), seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert np.array_equal(first, other) == (perturbation.sweep not in ("occlusion", "noise"))


@pytest.mark.parametrize(
    ("sweep", "harder"),
    [
        ("jpeg", (95, 50, 20, 5)),
        ("size", (80, 40, 20, 8)),
        ("blur", (0.5, 1, 2, 8)),
        ("occlusion", (0.05, 0.1, 0.4, 0.9)),
        ("noise", (2, 5, 20, 80)),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_each_step_of_a_sweep_loses_more_of_the_image(sweep: str, harder: tuple[float, ...], mode: str) -> None:
    image = photo(mode)
    lost = [float(((perturb(image, sweep, value) - pixels(image)) ** 2).mean()) for value in harder]
    assert lost == sorted(lost)
    assert 0 < lost[0] < lost[-1]


def test_jpeg_is_what_an_encoder_of_that_quality_leaves() -> None:
    payload = io.BytesIO()
    photo().save(payload, "JPEG", quality=30)
    np.testing.assert_array_equal(perturb(photo(), "jpeg", 30), pixels(Image.open(payload)))


def test_an_image_of_no_more_pixels_than_asked_for_stays_as_it_is() -> None:
    image = photo(width=80, height=20)  # as many pixels as 40 x 40
    np.testing.assert_array_equal(perturb(image, "size", 40), pixels(image))
    np.testing.assert_array_equal(perturb(image, "size", 160), pixels(image))
    assert (perturb(image, "size", 39) != pixels(image)).any()


def test_reduction_averages_what_it_cannot_keep_and_keeps_the_shape() -> None:
    checkerboard = Image.fromarray((np.indices((32, 128)).sum(axis=0) % 2 * 255).astype(np.uint8))
    assert np.abs(perturb(checkerboard, "size", 16) - 127.5).max() < 20
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 2, dtype=np.uint8), (32, 1)))
    inner = (slice(None), slice(8, -8))  # 128 x 32 become 32 x 8: ends are flat for half a pixel, 2 of 128
    assert np.abs(perturb(ramp, "size", 16) - pixels(ramp))[inner].max() <= 1.5


@pytest.mark.parametrize("side", [100, 200])
@pytest.mark.parametrize("hundredths", [1.0, 2.0, 4.0])
def test_blur_is_a_gaussian_in_proportion_to_the_side(side: int, hundredths: float) -> None:
    image = photo("L", side, side)
    expected = gaussian_filter(pixels(image), side * hundredths / 100, mode="nearest")
    assert np.abs(perturb(image, "blur", hundredths) - expected).max() < 6
    assert np.abs(perturb(image, "blur", hundredths) - expected).mean() < 1


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.001, 0.999), st.integers(0, 2**40))
def test_what_occludes_is_one_grey_rectangle_of_the_share_and_shape_asked_for(
    width: int, height: int, share: float, seed: int
) -> None:
    covered = perturb(Image.new("L", (width, height), 0), "occlusion", share, seed)
    rows, columns = (np.flatnonzero((covered == 128).any(axis=axis)) for axis in (1, 0))
    assert (covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 128).all()
    assert (covered == 128).sum() == len(rows) * len(columns) == (covered != 0).sum()
    assert abs(len(columns) - width * share**0.5) <= (0.5 if len(columns) > 1 else 1)
    assert abs(len(rows) - height * share**0.5) <= (0.5 if len(rows) > 1 else 1)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.integers(0, 2**40))
def test_with_one_seed_a_larger_rectangle_covers_all_that_a_smaller_one_does(
    width: int, height: int, first: float, second: float, seed: int
) -> None:
    image = Image.new("L", (width, height), 0)
    smaller, larger = (perturb(image, "occlusion", share, seed) for share in sorted((first, second)))
    assert (larger[smaller == 128] == 128).all()


def test_every_pixel_is_occluded_for_some_seed() -> None:
    image = Image.new("RGB", (12, 9), "black")
    covered = sum(perturb(image, "occlusion", 0.1, seed) for seed in range(400))
    assert np.all(covered > 0)


def test_noise_has_the_deviation_asked_for_and_is_another_in_each_channel() -> None:
    noise = perturb(Image.new("RGB", (200, 200), (128, 128, 128)), "noise", 10) - 128
    assert abs(noise.mean()) < 0.1
    np.testing.assert_allclose(noise.std(axis=(0, 1)), 10, rtol=0.02)
    correlation = np.asarray(np.corrcoef(noise.reshape(-1, 3).T))
    assert np.abs(correlation - np.eye(3)).max() < 0.02


def test_noise_stops_at_black_and_white() -> None:
    for level, lowest, highest in ((255, 150, 255), (0, 0, 105)):
        perturbed = perturb(Image.new("L", (100, 100), level), "noise", 20)
        assert lowest <= perturbed.min() <= perturbed.max() <= highest
        assert (perturbed == level).mean() == pytest.approx(0.5, abs=0.05)


def test_with_one_seed_noise_differs_in_strength_only() -> None:
    image = Image.new("L", (50, 50), 128)
    weak, strong = (perturb(image, "noise", level) - 128 for level in (5, 20))
    assert np.abs(strong - 4 * weak).max() <= 2.5  # both were rounded


@pytest.mark.parametrize("perturbation", ALL, ids=lambda perturbation: perturbation.name)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5)])
def test_images_of_any_shape_are_perturbed(perturbation: Perturbation, size: tuple[int, int]) -> None:
    assert perturbation.apply(Image.new("RGB", size, "teal"), 0).size == size


def test_sweeps_hold_each_value_of_the_config_once_ascending_and_leave_out_the_empty() -> None:
    config = RobustnessConfig(jpeg_qualities=(50, 10, 50), image_sizes=(), noise_levels=(2.5,))
    found = perturbation_sweeps(config)
    assert list(found) == ["jpeg", "blur", "occlusion", "noise"]
    assert found["jpeg"] == (Perturbation("jpeg", 10.0), Perturbation("jpeg", 50.0))
    assert found["noise"] == (Perturbation("noise", 2.5),)


def test_names_are_stable_and_tell_perturbations_apart() -> None:
    assert [Perturbation(*given).name for given in (("jpeg", 10), ("blur", 0.5))] == ["jpeg_10", "blur_0.5"]
    assert len({perturbation.name for perturbation in ALL}) == len(ALL) == 24


def test_an_unknown_sweep_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no sweep 'fog': choose one of jpeg, size"):
        Perturbation("fog", 1.0)


def test_a_mode_that_transforms_never_give_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="mode P cannot be perturbed"):
        Perturbation("jpeg", 10).apply(photo().convert("P"), 0)
