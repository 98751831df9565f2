"""A settings file is plain data: it runs nothing, it stays small, and what is wrong with it is one sentence."""

import itertools
from pathlib import Path

import pytest

from jobs.settings_file import MAX_BYTES, read_settings
from pipeline.errors import InputError

NAMES = "abcdefghij"
LAUGHS = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [*{old}, *{old}]\n" for old, name in itertools.pairwise(NAMES))

REFUSED = {
    "an alias": (LAUGHS, "line 2: aliases are not taken"),
    "a merge": ("a: &a {x: 1}\nb: {<<: *a}\n", "line 2: aliases are not taken"),
    "itself": ("run: &a [*a]\n", "aliases are not taken"),
    "depth": ("a: " + "[" * 500 + "]" * 500, "nested too deeply"),
    "size": ("#" * (MAX_BYTES + 1), "more than 1,048,576 bytes"),
    "a long number": ("seed: " + "9" * 5000, "4300 digits"),
    "a 13th month": ("workspace: 2020-13-45", "month must be"),
    "a number as a key": ("1: 2", "the key 1 is no name of a setting"),
    "a list as a key": ("? [a]\n: b", "line 1: found unhashable key"),
    "a list": ("- a\n- b", "holds a list, not settings"),
    "half of it": ("a: [unclosed\n", "is not YAML (line 2: "),
    "a NUL": ("\0", "is not YAML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_page_of_plain_settings_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    text, words = REFUSED[name]
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        read_settings(file)
    message = str(refused.value)
    assert words in message and str(file) in message and len(message) < 500 and "\n" not in message


@pytest.mark.parametrize("tag", ["object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir", "module:os"])
def test_a_tag_that_python_would_run_runs_nothing(tmp_path: Path, tag: str) -> None:
    file, mark = tmp_path / "run.yaml", tmp_path / "mark"
    file.write_text(f"workspace: !!python/{tag} ['{mark}']\n")
    with pytest.raises(InputError, match="could not determine a constructor"):
        read_settings(file)
    assert not mark.exists()


def test_a_message_does_not_quote_the_lines_around(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("aws_secret_access_key: a-secret\nrun: [unclosed\n")
    with pytest.raises(InputError) as refused:
        read_settings(file)
    assert "a-secret" not in str(refused.value)


def test_bytes_that_are_no_text_and_no_file_at_all_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    with pytest.raises(InputError, match="cannot be read"):
        read_settings(file)
    file.write_text("run: main", encoding="utf-16")
    with pytest.raises(InputError, match="is not YAML"):
        read_settings(file)


def test_settings_are_what_the_file_says_and_an_empty_file_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("# nothing\n")
    assert read_settings(file) == {}
    file.write_text("run: main\ncluster: {num_actors: 3, cache_dir: null}\n")
    assert read_settings(file) == {"run": "main", "cluster": {"num_actors": 3, "cache_dir": None}}
