import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from pipeline.evaluation.plots.names import font_families, shorten_to_width, wrap_to_width

SIZE = 9.0


def drawn_width(text: str, weight: str = "normal") -> float:
    """In inches, as matplotlib draws it; any warning is an error."""
    figure = Figure(figsize=(10, 1), dpi=100)
    artist = figure.text(0, 0.5, text, fontsize=SIZE, family=font_families(), fontweight=weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return float(artist.get_window_extent().width / 100)


@pytest.mark.parametrize("name", ["Ada", "Zoë Müller-Łęcki", "Αλέξανδρος", "Пушкин", "x"])
def test_a_name_that_fits_is_left_as_it_is(name: str) -> None:
    assert shorten_to_width(name, 2.0, SIZE) == name


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    shown = shorten_to_width("experiment with a long name, step 1500", 1.2, SIZE)
    assert shown.startswith("exper")
    assert "…" in shown
    assert shown.endswith("1500")


@settings(max_examples=50)
@given(st.text(), st.sampled_from(["normal", "bold"]))
def test_any_name_is_drawn_within_its_width_without_a_warning(name: str, weight: str) -> None:
    assert drawn_width(shorten_to_width(name, 1.5, SIZE, weight), weight) <= 1.5 + 0.05


@settings(max_examples=50)
@given(st.text(), st.integers(1, 3))
def test_any_name_is_drawn_within_its_lines(name: str, num_lines: int) -> None:
    shown = wrap_to_width(name, 1.2, SIZE, num_lines)
    assert len(shown.split("\n")) <= num_lines
    assert drawn_width(shown) <= 1.2 + 0.05


def test_lines_break_where_words_do() -> None:
    assert wrap_to_width("George_W_Bush", 0.6, SIZE, 2) == "George_\nW_Bush"


def test_a_character_without_a_glyph_is_written_as_its_code_point() -> None:
    assert shorten_to_width("a\ue000b", 2.0, SIZE) == "a U+E000 b"


def test_white_space_is_one_space() -> None:
    assert shorten_to_width(" Ada\t\n Lovelace ", 2.0, SIZE) == "Ada Lovelace"


def test_dollars_are_no_formula() -> None:
    assert drawn_width(shorten_to_width("$x$", 2.0, SIZE)) > drawn_width(shorten_to_width("x", 2.0, SIZE)) * 2


def test_a_legend_shows_a_name_that_begins_with_an_underscore() -> None:
    axes = Figure().subplots()
    axes.plot([0, 1], label=shorten_to_width("_Ada", 2.0, SIZE))
    assert [text.get_text().strip() for text in axes.legend().get_texts()] == ["_Ada"]
