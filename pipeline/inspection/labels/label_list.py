"""Lists of new labels as CSV files, which people edit in a spreadsheet: written from suspects, and read back."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.inspection.labels.suspects import Suspect

COLUMNS = ("example_id", "path", "label", "suggested_label", "score", "new_label")
NEEDED = ("example_id", "new_label")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The beginning of a formula, which a spreadsheet would run; a quote before it makes it text, there and here."""


@dataclass(frozen=True)
class Correction:
    """A row of a list that has a new label.

    Attributes:
        line: Of the file, for messages.
        new_label: Of the example.
        label: Of the example when the list was made; None where the list has no such column.
        path: Of the example in its source; None where the list has no such column.
    """

    line: int
    new_label: str
    label: str | None
    path: str | None


@dataclass(frozen=True)
class CorrectionList:
    """A list that was read: its rows with a new label by example id, and how many have none."""

    by_id: Mapping[int, Correction]
    num_blank: int


def write_label_list(file: Path, suspects: Iterable[Suspect], accept_above: float | None) -> int:
    """Writes suspects as a list, with a column for the new label.

    UTF-8 with a byte order mark, without which spreadsheets misread other letters than English ones.

    Args:
        file: A new file; an existing one may hold somebody's work.
        suspects: Its rows.
        accept_above: Fill in the suggestion where the score is at least this; None: nowhere.

    Returns:
        Rows with a new label.

    Raises:
        InputError: The file exists, or cannot be written.
    """
    num_accepted = 0
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for suspect in suspects:
        accepted = suspect.accepted_label(accept_above)
        num_accepted += bool(accepted)
        texts = [_guarded(cell) for cell in (suspect.path, suspect.label, suspect.suggested_label)]
        writer.writerow((suspect.example_id, *texts, suspect.score, _guarded(accepted)))
    try:
        with file.open("x", encoding="utf-8-sig", newline="") as sink:
            sink.write(text.getvalue())
    except FileExistsError:
        raise InputError(f"{file} exists, and may hold labels that were filled in: name another file") from None
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror}): name another file") from None
    return num_accepted


def read_label_list(file: Path) -> CorrectionList:
    """Reads a list: CSV in UTF-8 with a header that names at least ``example_id`` and ``new_label``.

    Raises:
        InputError: It is no such list, or gives an example two labels.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"the list {file} cannot be read ({error.strerror}): name an existing CSV file") from None
    except UnicodeDecodeError:
        raise InputError(f"the list {file} is not UTF-8: save it as CSV in UTF-8") from None
    if not text.strip():
        raise InputError(f"the list {file} is empty: write one with --csv, and fill in new_label")
    by_id: dict[int, Correction] = {}
    num_blank = 0
    for example_id, correction in _rows(file, text):
        if not correction.new_label.strip():
            num_blank += 1
            continue
        first = by_id.setdefault(example_id, correction)
        if first.new_label != correction.new_label:
            raise InputError(
                f"{file} gives example {example_id} two labels, {first.new_label!r} in line {first.line} and "
                f"{correction.new_label!r} in line {correction.line}: keep one"
            )
    return CorrectionList(by_id, num_blank)


def _rows(file: Path, text: str) -> Iterator[tuple[int, Correction]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        if any(header.count(name) != 1 for name in NEEDED):
            raise InputError(
                f"the first line of {file} must name the columns {' and '.join(NEEDED)}, separated by commas; it is "
                f"{','.join(header)[:200]!r}"
            )
        for cells in reader:
            if not any(cells):
                continue
            line = reader.line_num
            if len(cells) != len(header):
                raise InputError(
                    f"line {line} of {file} has {len(cells)} values for {len(header)} columns: put double quotes "
                    "around a label that holds a comma"
                )
            row = dict(zip(header, cells, strict=True))
            if not re.fullmatch(r"[0-9]{1,18}", row["example_id"].strip()):
                raise InputError(
                    f"line {line} of {file} has the example_id {row['example_id']!r}: ids are whole numbers"
                )
            label, path = (_unguarded(row[name]) if name in row else None for name in ("label", "path"))
            yield int(row["example_id"]), Correction(line, _unguarded(row["new_label"]), label, path)
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {file} is not CSV ({error}): save it as CSV in UTF-8") from None


def _guarded(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
