import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.config import TransformConfig
from pipeline.corpus.transform import Transform
from pipeline.errors import InputError
from tests.unit.corpus.samples import encode, png


def plain(size: int = 4, **options: object) -> TransformConfig:
    return TransformConfig.model_validate({"height": size, "width": size, **options})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_every_mode_becomes_float32_channels_first(channels: int, mode: str) -> None:
    config = TransformConfig.model_validate({"height": 6, "width": 9, "channels": channels})
    array = Transform(config)(encode(Image.new("RGB", (20, 30), "teal").convert(mode)))
    assert array.shape == (channels, 6, 9)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.min() >= -1
    assert array.max() <= 1


def test_black_is_minus_one_and_white_is_one() -> None:
    transform = Transform(plain())
    assert (transform(encode(Image.new("L", (8, 8), 0))) == -1).all()
    assert (transform(encode(Image.new("L", (8, 8), 255))) == 1).all()


def test_colours_come_in_rgb_order() -> None:
    array = Transform(plain(channels=3))(encode(Image.new("RGB", (8, 8), (255, 0, 0))))
    assert array[:, 0, 0].tolist() == [1, -1, -1]


def test_crop_keeps_the_central_share() -> None:
    image = Image.new("L", (100, 60), 0)
    image.paste(255, (25, 15, 75, 45))
    assert (Transform(plain(crop=0.5))(encode(image)) == 1).all()
    assert Transform(plain(crop=0.6))(encode(image)).min() < 1


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_an_alteration_is_given_the_cropped_image_before_it_is_resized(channels: int, mode: str) -> None:
    seen = []

    def invert(image: Image.Image) -> Image.Image:
        seen.append((image.mode, image.size))
        return ImageOps.invert(image)

    transform = Transform(plain(crop=0.5, channels=channels))
    payload = encode(Image.new("RGBA", (100, 60), "white"))
    assert (transform(payload, invert) == -1).all()
    assert seen == [(mode, (50, 30))]
    assert (transform(payload) == 1).all()


@pytest.mark.parametrize("crop", [0.3, 1.0])
def test_an_alteration_that_changes_nothing_gives_the_same_bits(crop: float) -> None:
    transform = Transform(plain(size=9, crop=crop, channels=3))
    for seed in range(5):
        payload = png(seed, size=20 + seed)
        np.testing.assert_array_equal(transform(payload, lambda image: image), transform(payload))


def test_an_altered_image_of_another_size_is_resized_all_the_same() -> None:
    array = Transform(plain())(png(size=40), lambda image: image.resize((7, 90)))
    assert array.shape == (1, 4, 4)


def test_image_of_the_target_size_keeps_its_pixels() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
    array = Transform(plain())(encode(Image.fromarray(pixels)))
    np.testing.assert_array_equal(np.round((array[0] + 1) * 127.5), pixels)


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    checkerboard = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(Transform(plain())(encode(Image.fromarray(checkerboard)))).max() < 0.1


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16))
    assert np.abs(Transform(plain())(encode(grey))).max() < 0.01


def test_transparent_pixels_are_white() -> None:
    assert (Transform(plain(channels=3))(encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))) == 1).all()


def test_photo_is_turned_upright_by_its_tag() -> None:
    image = Image.new("L", (40, 20), 0)
    image.paste(255, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show
    array = Transform(plain(size=8))(encode(image, "JPEG", exif=exif, quality=95))
    assert array[0, 0].min() > 0.9
    assert array[0, -1].max() < -0.9


def test_bytes_that_are_no_image_are_an_input_error() -> None:
    for content in (b"", b"text", png()[:120]):
        with pytest.raises(InputError, match="cannot be decoded"):
            Transform(plain())(content)
