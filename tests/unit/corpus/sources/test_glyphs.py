import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from pipeline.config import GlyphsConfig
from pipeline.corpus.sources.glyph_faces import Character, choose_characters, merge_identical
from pipeline.corpus.sources.glyphs import FONT_SIZE, OVERSAMPLING, Glyphs
from pipeline.corpus.sources.items import Item
from pipeline.errors import InputError
from tests.unit.corpus.samples import split

SMALL = GlyphsConfig(max_labels=20, max_faces=4)
MANY = {"max_labels": 600, "max_faces": 1}
"""Enough characters for some look-alikes."""


def draw(config: GlyphsConfig) -> dict[str, Item]:
    items, rejected = split(Glyphs(config))
    assert rejected == []
    return {item.path: item for item in items}


def pixels(item: Item) -> np.ndarray:
    assert isinstance(item.content, bytes)
    return np.asarray(Image.open(io.BytesIO(item.content)))


@pytest.fixture(scope="module")
def small() -> dict[str, Item]:
    return draw(SMALL)


def merge(characters: list[Character]) -> dict[str, str]:
    """Label by character, at the size of the default images."""
    labels = merge_identical(characters, round(32 * OVERSAMPLING * FONT_SIZE))
    return {chr(code): label for code, label in labels.items()}


@pytest.fixture(scope="module")
def all_characters() -> list[Character]:
    return choose_characters(GlyphsConfig())


@pytest.fixture(scope="module")
def all_labels(all_characters: list[Character]) -> list[str]:
    return [character.label for character in all_characters]


@pytest.fixture(scope="module")
def merged(all_characters: list[Character]) -> dict[str, str]:
    return merge(all_characters)


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
    assert all(first[path].content != second[path].content for path in first)


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


@pytest.mark.parametrize(
    ("alike", "label"),
    [
        ("A\u0391\u0410", "U+0041 LATIN CAPITAL LETTER A (and U+0391, U+0410)"),
        ("o\u03bf\u043e", "U+006F LATIN SMALL LETTER O (and U+03BF, U+043E)"),
        ("\u03a9\u2126", "U+03A9 GREEK CAPITAL LETTER OMEGA (and U+2126)"),
    ],
)
def test_merging_joins_look_alikes_under_the_lowest_code_point(merged: dict[str, str], alike: str, label: str) -> None:
    assert {character for character, name in merged.items() if name == label} == set(alike)


@pytest.mark.parametrize(
    "apart",
    [
        "lI1|",
        "O0o",
        ",'",
        "\u2013\u2014",  # en and em dash, the same in monospace
        "m\u0442",  # Cyrillic te, an m in serif italics
        "h\u210e",  # the Planck constant, italic in every font
        "\u00b2\u2082",  # superscript and subscript two, the same ink at another height
    ],
)
def test_merging_keeps_apart_what_most_fonts_draw_differently(merged: dict[str, str], apart: str) -> None:
    assert len({merged[character] for character in apart}) == len(apart)


def test_merging_joins_what_is_alike_to_the_same_third(all_characters: list[Character]) -> None:
    by_character = {chr(character.code): character for character in all_characters}
    latin, greek, fita, cyrillic = "\u019f\u03f4\u0472\u04e8"
    apart = merge([by_character[latin], by_character[cyrillic]])
    assert apart[latin] != apart[cyrillic]
    label = "U+019F LATIN CAPITAL LETTER O WITH MIDDLE TILDE (and U+03F4, U+0472, U+04E8)"
    for order in itertools.permutations(by_character[character] for character in (latin, greek, fita, cyrillic)):
        assert set(merge(list(order)).values()) == {label}


def test_merging_leaves_the_labels_of_what_has_no_look_alike(
    all_characters: list[Character], merged: dict[str, str]
) -> None:
    assert 2_350 < len(set(merged.values())) < 2_450
    own = {chr(character.code): character.label for character in all_characters}
    assert all(merged[character] == own[character] for character in merged if "(and" not in merged[character])
    alone = [character for character in all_characters if character.code in (0x41, 0x42)]
    assert merge(alone) == {"A": own["A"], "B": own["B"]}


def test_merging_does_not_depend_on_the_seed_or_the_faces(merged: dict[str, str]) -> None:
    assert merge(choose_characters(GlyphsConfig(seed=1, max_faces=2))) == merged


def test_merging_changes_labels_and_nothing_else_and_is_the_same_each_time() -> None:
    apart = list(draw(GlyphsConfig(**MANY)).values())
    joined, again = (list(draw(GlyphsConfig(**MANY, merge_identical=True)).values()) for _ in range(2))
    assert again == joined
    assert [(item.path, item.content) for item in joined] == [(item.path, item.content) for item in apart]
    assert len({item.label for item in apart}) == 600
    assert len({item.label for item in joined}) < 600
    for one, other in zip(joined, apart, strict=True):
        assert one.label == other.label or other.label.split()[0] in re.findall(r"U\+[0-9A-F]{4}", one.label)


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
    rows = np.arange(32)[:, None]

    items = (entry for entry in Glyphs(GlyphsConfig(max_faces=1)) if isinstance(entry, Item))
    height: dict[str, float] = {}
    while len(height) < 2:  # drawn one by one, so as far as these two alone
        item = next(items)
        if (code := item.label.split()[0]) in ("U+002C", "U+0027"):
            image = pixels(item).astype(float)
            image[image < 60] = 0
            height[code] = float((image * rows).sum() / image.sum())

    assert height["U+002C"] > height["U+0027"] + 6


def test_bounds_on_faces_and_labels_hold(small: dict[str, Item]) -> None:
    labels = [item.label for item in small.values()]
    assert len(set(labels)) == 20
    assert all(labels.count(label) == 4 for label in labels)


def test_number_of_entries_is_known_before_drawing(small: dict[str, Item]) -> None:
    assert Glyphs(SMALL).num_entries == len(small)


def test_too_many_faces_asked_for_is_an_input_error() -> None:
    with pytest.raises(InputError, match="min_faces"):
        list(Glyphs(GlyphsConfig(min_faces=500)))
