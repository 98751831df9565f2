import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.inspection.labels.label_list import read_label_list, write_label_list
from pipeline.inspection.labels.suspects import Suspect
from tests.support.refusals import refusal

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def suspect(example_id: int, label: str = "a", suggested: str = "b", score: float | None = 0.5) -> Suspect:
    return Suspect(1, example_id, f"{label}/{example_id}.png", label, suggested, score)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def test_a_list_has_an_empty_column_for_new_labels(file: Path) -> None:
    assert write_label_list(file, [suspect(3), suspect(12, "c,d", 'e"f', None)], None) == 0
    assert file.read_bytes().decode() == (
        "\ufeffexample_id,path,label,suggested_label,score,new_label\r\n"
        "3,a/3.png,a,b,0.5,\r\n"
        '12,"c,d/12.png","c,d","e""f",,\r\n'
    )
    read = read_label_list(file)
    assert (read.by_id, read.num_blank) == ({}, 2)


def test_suggestions_are_filled_in_at_and_above_a_score(file: Path) -> None:
    rows = [suspect(0, score=0.9), suspect(1, score=0.5), suspect(2, score=0.49), suspect(3, score=None)]
    assert write_label_list(file, rows, 0.5) == 2
    assert {key: row.new_label for key, row in read_label_list(file).by_id.items()} == {0: "b", 1: "b"}


@given(label=TEXT, suggested=TEXT, path=TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_as_it_was(file: Path, label: str, suggested: str, path: str) -> None:
    file.unlink(missing_ok=True)
    write_label_list(file, [Suspect(1, 5, path, label, suggested, 1.0)], 0.0)
    read = read_label_list(file)
    if not suggested.strip():
        assert read.num_blank == 1
        return
    assert (read.by_id[5].new_label, read.by_id[5].label, read.by_id[5].path) == (suggested, label, path)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''-1"])
def test_no_cell_of_text_is_a_formula_to_a_spreadsheet(file: Path, text: str) -> None:
    write_label_list(file, [Suspect(1, 5, text, text, text, 1.0)], 0.0)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert {row[name] for name in ("path", "label", "suggested_label", "new_label")} == {f"'{text}"}


def test_other_readers_of_csv_see_the_same_columns(file: Path) -> None:
    write_label_list(file, [suspect(3, "é\n", "日本"), suspect(4)], 0.0)
    table = pd.read_csv(file)
    assert table["example_id"].tolist() == [3, 4]
    assert (table["label"][0], table["new_label"][0]) == ("é\n", "日本")


def test_a_list_that_was_filled_in_is_not_written_over(file: Path) -> None:
    file.write_text("mine")
    message = refusal(lambda: write_label_list(file, [suspect(1)], None))
    assert message == f"{file} exists, and may hold labels that were filled in: name another file"
    assert file.read_text() == "mine"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    message = refusal(lambda: write_label_list(tmp_path / "missing" / "labels.csv", [], None))
    assert "labels.csv cannot be written (No such file or directory): name another" in message


def test_what_a_spreadsheet_saves_is_read(file: Path) -> None:
    file.write_bytes("\ufeffexample_id,new_label,remarks\r\n3,b,sure\r\n4, ,?\r\n\r\n,,\r\n5,b\u00e9,\r\n".encode())
    read = read_label_list(file)
    assert {key: (row.new_label, row.label, row.path) for key, row in read.by_id.items()} == {
        3: ("b", None, None),
        5: ("bé", None, None),
    }
    assert read.num_blank == 1


def test_the_same_answer_twice_is_one(file: Path) -> None:
    file.write_text("example_id,new_label\n3,b\n3,b\n3,\n")
    assert {key: row.new_label for key, row in read_label_list(file).by_id.items()} == {3: "b"}


COLUMNS = "the first line of {file} must name the columns example_id and new_label, separated by commas; it is "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the list {file} is empty: write one with --csv, and fill in new_label"),
        (b"\xef\xbb\xbf \n", "the list {file} is empty: write one with --csv, and fill in new_label"),
        ("example_id,new_label\n3,é\n".encode("latin-1"), "the list {file} is not UTF-8: save it as CSV in UTF-8"),
        (b"3,b\n4,c\n", COLUMNS + "'3,b'"),
        (b"example_id;new_label\n3;b\n", COLUMNS + "'example_id;new_label'"),
        (b"example_id,new_label,new_label\n3,b,c\n", COLUMNS + "'example_id,new_label,new_label'"),
        (
            b"example_id,new_label\n3,Smith, John\n",
            "line 2 of {file} has 3 values for 2 columns: put double quotes around a label that holds a comma",
        ),
        (b"example_id,new_label\n\n3.0,b\n", "line 3 of {file} has the example_id '3.0': ids are whole numbers"),
        (b"example_id,new_label\n-3,b\n", "line 2 of {file} has the example_id '-3': ids are whole numbers"),
        (
            b"example_id,new_label\n3,b\n4,b\n3,c\n",
            "{file} gives example 3 two labels, 'b' in line 2 and 'c' in line 4: keep one",
        ),
        (
            b'example_id,new_label\n3,"b\n',
            "line 2 of {file} is not CSV (unexpected end of data): save it as CSV in UTF-8",
        ),
    ],
)
def test_what_is_no_list_is_refused_in_one_sentence(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    assert refusal(lambda: read_label_list(file)) == message.format(file=file)


def test_a_list_that_is_missing_is_named(file: Path) -> None:
    message = refusal(lambda: read_label_list(file))
    assert message == f"the list {file} cannot be read (No such file or directory): name an existing CSV file"
