from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.lfw_files import NamedPair, Person, find_pairs, find_people, read_pairs, read_people
from pipeline.errors import InputError
from tests.support.lfw import lfw_folder, needs_lfw_files

PAIRS = ["2\t2", "Al\t1\t2", "Al\t2\t3", "Al\t1\tBo\t1", "Bo\t1\tAl\t3", "Di\t1\t2", "Ed\t4\t12"]
PAIRS += ["Di\t1\tEd\t1", "Ed\t12\tDi\t2"]
VIEW_1_PAIRS = ["1", "Al\t1\t2", "Al\t1\tBo\t1"]
PEOPLE = ["2", "2", "Al\t3", "Bo\t1", "3", "Di\t2", "Ed\t12", "Flo\t1"]
COUNTS = {"Al": 3, "Bo": 1, "Di": 2, "Ed": 12, "Flo": 1}
PATHS = [f"images/{name}/{name}_{n:04d}.jpg" for name, count in COUNTS.items() for n in range(1, count + 1)]
LABELS = np.repeat(np.arange(5, dtype=np.int32), list(COUNTS.values()))
NAMES = st.text("Ab_-'é", min_size=1, max_size=6)


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def changed(lines: list[str], line: int, text: str) -> list[str]:
    """The lines with one of them, counted from 1, replaced."""
    return [*lines[: line - 1], text, *lines[line:]]


def test_pairs_are_read_with_their_fold_and_line(tmp_path: Path) -> None:
    file = read_pairs(write(tmp_path / "pairs.txt", PAIRS))
    assert (file.num_folds, len(file.pairs)) == (2, 8)
    assert file.pairs[1] == NamedPair(("Al", "Al"), (2, 3), fold=0, line=3)
    assert file.pairs[7] == NamedPair(("Ed", "Di"), (12, 2), fold=1, line=9)
    assert file.pairs[7].stems == ("Ed_0012", "Di_0002")


def test_a_header_of_one_number_is_a_single_set(tmp_path: Path) -> None:
    file = read_pairs(write(tmp_path / "pairsDevTest.txt", VIEW_1_PAIRS))
    assert file.num_folds == 1
    assert [(pair.names, pair.numbers, pair.fold) for pair in file.pairs] == [
        (("Al", "Al"), (1, 2), 0),
        (("Al", "Bo"), (1, 1), 0),
    ]


@pytest.mark.parametrize(
    ("lines", "sets"),
    [
        (
            PEOPLE,
            ((Person("Al", 3, 3), Person("Bo", 1, 4)), (Person("Di", 2, 6), Person("Ed", 12, 7), Person("Flo", 1, 8))),
        ),
        (["2", "Al\t3", "Bo\t1"], ((Person("Al", 3, 2), Person("Bo", 1, 3)),)),
    ],
    ids=["ten folds", "view 1, a single set"],
)
def test_people_are_read_by_set(tmp_path: Path, lines: list[str], sets: tuple[tuple[Person, ...], ...]) -> None:
    assert read_people(write(tmp_path / "people.txt", lines)).sets == sets


def test_windows_line_ends_and_blank_lines_at_the_end_change_nothing(tmp_path: Path) -> None:
    plain = read_pairs(write(tmp_path / "pairs.txt", PAIRS))
    (tmp_path / "pairs.txt").write_bytes("\r\n".join([*PAIRS, "", ""]).encode())
    assert read_pairs(tmp_path / "pairs.txt") == plain


@given(st.lists(st.tuples(NAMES, NAMES, st.integers(1, 9999), st.integers(1, 9999)), min_size=1, max_size=5))
def test_what_is_written_in_the_format_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, people: list[tuple[str, str, int, int]]
) -> None:
    matched = [f"{name}\t{n}\t{m if m != n else n % 9999 + 1}" for name, _, n, m in people]
    mismatched = [f"{name}\t{n}\t{other if other != name else name + '2'}\t{m}" for name, other, n, m in people]
    path = write(tmp_path_factory.mktemp("lfw") / "pairs.txt", [str(len(people)), *matched, *mismatched])
    lines = [
        "\t".join([pair.names[0], *map(str, pair.numbers)])
        if pair.names[0] == pair.names[1]
        else f"{pair.names[0]}\t{pair.numbers[0]}\t{pair.names[1]}\t{pair.numbers[1]}"
        for pair in read_pairs(path).pairs
    ]
    assert lines == [*matched, *mismatched]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (PAIRS[:-1], r"pairs\.txt ends after line 8, where .* mismatched pair 2 of 2 in set 2 of 2"),
        ([*PAIRS, "Al\t1\t3"], r"pairs\.txt goes on at line 10"),
        (changed(PAIRS, 1, "2\t3"), "line 4 is 'Al.*Bo.*should hold NAME N1 N2, matched pair 3 of 3 in set 1 of 2"),
        (changed(PAIRS, 1, "3\t2"), "ends after line 9, where .* matched pair 1 of 2 in set 3 of 3"),
        (changed(PAIRS, 1, "2\t2\t2"), "line 1 is .* should hold the number of sets"),
        (changed(PAIRS, 1, "0\t2"), "line 1 .* whole numbers of at least 1, not '0'"),
        (changed(PAIRS, 1, "2\t0"), "line 1 .* whole numbers of at least 1, not '0'"),
        (changed(PAIRS, 3, "Al\t2\t2"), "line 3 is .* matched pair 2 of 2 in set 1 of 2, of two images"),
        (changed(PAIRS, 3, "Al\t2\t-3"), "line 3 is .* not '-3'"),
        (changed(PAIRS, 3, "Al\t2\tthree"), "line 3 is .* not 'three'"),
        (changed(PAIRS, 3, ""), "line 3 is '', but should hold NAME N1 N2"),
        (changed(PAIRS, 4, "Al\t1\tAl\t2"), "line 4 is .* of two people"),
        (changed(PAIRS, 4, "Al\t1\tBo"), "line 4 is .* NAME1 N1 NAME2 N2, mismatched pair 1 of 2 in set 1 of 2"),
        ([], "line 1 is ''"),
    ],
)
def test_a_line_of_pairs_that_breaks_the_format_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(write(tmp_path / "pairs.txt", lines))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (PEOPLE[:-1], r"people\.txt ends after line 7, .* person 3 of 3 in set 2"),
        (PEOPLE[:4], "ends after line 4, where it should hold the number of people in set 2 of 2"),
        ([*PEOPLE, "Gus\t1"], "goes on at line 9"),
        (changed(PEOPLE, 5, "0"), "line 5 .* people in set 2 of 2, with whole numbers of at least 1"),
        (changed(PEOPLE, 2, "1"), "line 4 is 'Bo.*should hold the number of people in set 2 of 2"),
        (changed(PEOPLE, 4, "Bo"), "line 4 is 'Bo', but should hold NAME and the number"),
        (changed(PEOPLE, 8, "Al\t3"), "lists Al on line 3 and again on line 8"),
        (changed(PEOPLE, 4, "Al\t3"), "lists Al on line 3 and again on line 4"),
        (["2\t2", "Al\t3"], "line 1 is"),
    ],
)
def test_a_line_of_people_that_breaks_the_format_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_people(write(tmp_path / "people.txt", lines))


def test_a_file_that_is_not_there_says_what_to_set(tmp_path: Path) -> None:
    for read in (read_pairs, read_people):
        with pytest.raises(InputError, match=r"absent\.txt is not there: let evaluation\.lfw\.folder"):
            read(tmp_path / "absent.txt")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"pairs\.txt cannot be read"):
        read_pairs(tmp_path / "pairs.txt")


@pytest.mark.parametrize("form", ["images_deepfunneled/{}.jpg", "lfw.v2/{}.png", "{}.webp", "{}", "a/b.c/{}"])
def test_images_are_found_by_their_names_in_any_folder_with_any_suffix(tmp_path: Path, form: str) -> None:
    paths = [form.format(path.removeprefix("images/").removesuffix(".jpg")) for path in PATHS]
    ids_P2, is_same_P, fold_P = find_pairs(read_pairs(write(tmp_path / "pairs.txt", PAIRS)), paths)
    assert ids_P2.dtype == np.int64
    assert ids_P2.tolist() == [[0, 1], [1, 2], [0, 3], [3, 2], [4, 5], [9, 17], [4, 6], [17, 5]]
    assert is_same_P.tolist() == [True, True, False, False] * 2
    assert fold_P.tolist() == [0] * 4 + [1] * 4


def test_other_images_of_the_corpus_do_not_matter(tmp_path: Path) -> None:
    file = read_pairs(write(tmp_path / "pairs.txt", PAIRS))
    paths = ["other/x/0001.jpg", *PATHS, "other/y/0001.jpg"]  # the same stem twice, but no pair names it
    np.testing.assert_array_equal(find_pairs(file, paths)[0], find_pairs(file, PATHS)[0] + 1)


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        (changed(PAIRS, 3, "Bo\t1\t2"), [], r"pairs\.txt line 3 .* Bo_0002, .* not in the corpus \(it has 1 of Bo"),
        (changed(PAIRS, 8, "Di\t1\tGus\t1"), [], r"line 8 names image Gus_0001, .* \(it has 0 of Gus\)"),
        (PAIRS, ["c/Al_0001.png"], r"line 2 .* Al_0001, .* holds 2 times \(images/Al/.* and c/Al_0001\.png\)"),
    ],
    ids=["a matched pair of a person with one image", "a person whom the corpus lacks", "an image that is there twice"],
)
def test_a_pair_that_the_corpus_does_not_have_once_is_named_by_its_line(
    tmp_path: Path, lines: list[str], more: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_pairs(read_pairs(write(tmp_path / "pairs.txt", lines)), [*PATHS, *more])


def test_people_are_found_among_the_labels(tmp_path: Path) -> None:
    file = read_people(write(tmp_path / "people.txt", PEOPLE))
    assert [codes.tolist() for codes in find_people(file, list(COUNTS), LABELS)] == [[0, 1], [2, 3, 4]]


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (8, "Gus\t1", r"people\.txt line 8 promises 1 images of Gus, but the corpus has 0"),
        (7, "Ed\t13", r"people\.txt line 7 promises 13 images of Ed, but the corpus has 12"),
    ],
)
def test_people_whom_the_corpus_lacks_or_counts_otherwise_are_named(
    tmp_path: Path, line: int, text: str, message: str
) -> None:
    file = read_people(write(tmp_path / "people.txt", changed(PEOPLE, line, text)))
    with pytest.raises(InputError, match=message):
        find_people(file, list(COUNTS), LABELS)


@needs_lfw_files
def test_the_official_files_hold_their_published_numbers_and_fit_one_another() -> None:
    people = read_people(lfw_folder() / "people.txt")
    counts = {person.name: person.num_images for members in people.sets for person in members}
    assert (len(people.sets), len(counts), sum(counts.values())) == (10, 5749, 13_233)
    names = sorted(counts)
    paths = [f"images_deepfunneled/{name}/{name}_{n:04d}.jpg" for name in names for n in range(1, counts[name] + 1)]
    labels = np.repeat(np.arange(len(names)), [counts[name] for name in names])
    codes = find_people(people, names, labels)

    ids_P2, is_same_P, fold_P = find_pairs(read_pairs(lfw_folder() / "pairs.txt"), paths)
    assert np.bincount(2 * fold_P + is_same_P).tolist() == [300] * 20
    np.testing.assert_array_equal(labels[ids_P2[:, 0]] == labels[ids_P2[:, 1]], is_same_P)
    for fold in range(10):
        assert np.isin(labels[ids_P2[fold_P == fold]], codes[fold]).all()

    for name, num_people, num_pairs in (("Train", 4038, 2200), ("Test", 1711, 1000)):
        (members,) = read_people(lfw_folder() / f"peopleDev{name}.txt").sets
        ids_P2, is_same_P, _ = find_pairs(read_pairs(lfw_folder() / f"pairsDev{name}.txt"), paths)
        assert (len(members), len(ids_P2), is_same_P.sum()) == (num_people, num_pairs, num_pairs // 2)
        assert {names[code] for code in labels[ids_P2].ravel()} <= {person.name for person in members}
