import io
import time

import numpy as np
import pytest
from PIL import Image

from pipeline.config import GlyphsConfig
from pipeline.corpus.glyph_faces import choose_characters
from pipeline.corpus.glyphs import Glyphs
from pipeline.corpus.items import Item
from pipeline.errors import InputError
from tests.unit.corpus.samples import split

SMALL = GlyphsConfig(max_labels=20, max_faces=4)


def draw(config: GlyphsConfig) -> dict[str, Item]:
    items, rejected = split(Glyphs(config))
    assert rejected == []
    return {item.path: item for item in items}


def pixels(item: Item) -> np.ndarray:
    assert isinstance(item.payload, bytes)
    return np.asarray(Image.open(io.BytesIO(item.payload)))


@pytest.fixture(scope="module")
def small() -> dict[str, Item]:
    return draw(SMALL)


@pytest.fixture(scope="module")
def all_labels() -> list[str]:
    return [character.label for character in choose_characters(GlyphsConfig())]


def test_same_config_draws_the_same_bytes(small: dict[str, Item]) -> None:
    assert draw(SMALL) == small


def test_image_does_not_depend_on_what_else_is_drawn(small: dict[str, Item]) -> None:
    fewer = draw(GlyphsConfig(max_labels=7, max_faces=2))
    assert len(fewer) == 14
    assert fewer.items() <= small.items()


def test_another_seed_draws_other_images() -> None:
    everything = {"max_labels": 2600, "min_faces": 20, "max_faces": 99}
    first = draw(GlyphsConfig(**everything))
    second = draw(GlyphsConfig(**everything, seed=1))
    assert first.keys() == second.keys()
    assert all(first[path].payload != second[path].payload for path in first)


def test_images_are_grey_squares_with_ink_inside(small: dict[str, Item]) -> None:
    for item in small.values():
        image = pixels(item)
        assert image.shape == (32, 32)
        assert image.dtype == np.uint8
        assert image.max() > 60, item.path


def test_image_size_is_the_configured_one() -> None:
    item = next(iter(draw(GlyphsConfig(max_labels=1, max_faces=1, image_size=48)).values()))
    assert pixels(item).shape == (48, 48)


def test_labels_and_paths_name_the_character(all_labels: list[str]) -> None:
    assert "U+0041 LATIN CAPITAL LETTER A" in all_labels
    items = draw(GlyphsConfig(min_faces=20, max_faces=99))
    assert all(item.path.startswith(f"glyphs/{item.label.split()[0]}/") for item in items.values())


def test_look_alikes_of_different_scripts_stay_separate_labels(all_labels: list[str]) -> None:
    capitals = {"U+0041 LATIN", "U+0391 GREEK", "U+0410 CYRILLIC"}
    assert capitals <= {" ".join(label.split()[:2]) for label in all_labels}


def test_default_config_has_the_known_number_of_labels(all_labels: list[str]) -> None:
    assert 2_400 < len(all_labels) < 2_700
    assert len(set(all_labels)) == len(all_labels)


def test_blank_characters_are_no_labels(all_labels: list[str]) -> None:
    codes = {label.split()[0] for label in all_labels}
    assert codes.isdisjoint({"U+0020", "U+00A0", "U+2003", "U+00AD", "U+F6C5"})


def test_fonts_in_tex_encodings_draw_no_label() -> None:
    characters = choose_characters(GlyphsConfig(min_faces=1, max_faces=99))
    fonts = {font for character in characters for font in character.fonts}
    assert "DejaVuSans" in fonts
    assert not [font for font in fonts if font.startswith(("cm", "LastResort"))]


def test_comma_lies_below_the_apostrophe() -> None:
    items = draw(GlyphsConfig(min_faces=10, max_faces=1, max_labels=None))
    rows = np.arange(32)[:, None]

    def height(code: str) -> float:
        image = next(pixels(item) for path, item in items.items() if f"/{code}/" in path).astype(float)
        image[image < 60] = 0
        return float((image * rows).sum() / image.sum())

    assert height("U+002C") > height("U+0027") + 6


def test_bounds_on_faces_and_labels_hold(small: dict[str, Item]) -> None:
    labels = [item.label for item in small.values()]
    assert len(set(labels)) == 20
    assert all(labels.count(label) == 4 for label in labels)


def test_number_of_entries_is_known_before_drawing(small: dict[str, Item]) -> None:
    assert Glyphs(SMALL).num_entries == len(small)


def test_too_many_faces_asked_for_is_an_input_error() -> None:
    with pytest.raises(InputError, match="min_faces"):
        list(Glyphs(GlyphsConfig(min_faces=500)))


def test_drawing_is_quick_enough_for_the_whole_corpus() -> None:
    start = time.process_time()
    count = len(draw(GlyphsConfig(max_labels=150)))
    assert (time.process_time() - start) / count < 0.004
