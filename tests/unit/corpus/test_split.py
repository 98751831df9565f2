from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import CorpusConfig
from pipeline.corpus.split import Split, read_split
from pipeline.errors import InputError
from tests.unit.corpus.samples import faces, folder_config, make_corpus, write_folder

KNOWN_TEST_LABELS = ["person 3", "person 9"]
LABELS = [f"person {i}" for i in range(4000)]
PEOPLE = "3\n1\nperson_0\t2\n2\nperson_1\t2\nperson_2\t2\n1\nperson_9\t2\n"


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.txt"
    file.write_text(PEOPLE)
    return file


def test_without_a_list_the_fraction_holds() -> None:
    assert read_split(CorpusConfig(test_fraction=0.3)) == Split(0.3)


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (None, {"person_0", "person_1", "person_2", "person_9"}),
        ((2,), {"person_1", "person_2"}),
        ((1, 3), {"person_0", "person_9"}),
    ],
)
def test_the_chosen_sets_are_the_test_labels(people: Path, sets: tuple[int, ...] | None, expected: set[str]) -> None:
    split = read_split(CorpusConfig(test_people=str(people), test_sets=sets))
    assert split.test_labels == frozenset(expected)
    assert [split.is_test(f"person_{i}") for i in range(4)] == [f"person_{i}" in expected for i in range(4)]


def test_a_set_that_is_not_there_is_named(people: Path) -> None:
    with pytest.raises(InputError, match=r"names set 4, but .*people\.txt has 3"):
        read_split(CorpusConfig(test_people=str(people), test_sets=(2, 4)))


def test_sets_without_a_list_are_refused() -> None:
    with pytest.raises(ValueError, match="set that too"):
        CorpusConfig(test_sets=(1,))


def test_a_prepared_corpus_keeps_exactly_the_listed_people(tmp_path: Path, people: Path) -> None:
    folder = write_folder(tmp_path / "faces", faces(6, 2))
    config = folder_config(folder, test_people=str(people), test_sets=(1, 2), test_fraction=0.9)
    corpus = make_corpus(tmp_path, config)
    assert {corpus.label_names[code] for code in corpus.labels[corpus.is_test]} == {"person_0", "person_1", "person_2"}


def test_another_list_is_another_fingerprint() -> None:
    splits = [Split(0.2), Split(0.3), Split(0.2, frozenset("a")), Split(0.2, frozenset("ab")), Split(0.2, frozenset())]
    assert len({split.fingerprint("c" * 64) for split in splits}) == len(splits)
    assert Split(0.2, frozenset("ab")).fingerprint("c") == Split(0.7, frozenset("ba")).fingerprint("c")


def test_listed_people_who_are_not_there_are_counted(
    tmp_path: Path, people: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_corpus(tmp_path, folder_config(write_folder(tmp_path / "faces", faces(6, 2)), test_people=str(people)))
    words = " ".join(capfd.readouterr().err.split())
    assert "1 of the 4 labels of corpus.test_people are not in the corpus, the first 'person_9'" in words


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_test_fraction_only_adds_test_labels(label: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert Split(high).is_test(label) or not Split(low).is_test(label)


@given(st.text())
def test_fractions_zero_and_one_keep_none_and_all(label: str) -> None:
    assert not Split(0.0).is_test(label)
    assert Split(1.0).is_test(label)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_share_of_test_labels_is_near_the_fraction(fraction: float) -> None:
    share = np.mean([Split(fraction).is_test(label) for label in LABELS])
    assert abs(share - fraction) < 0.03


def test_split_of_known_labels_never_moves() -> None:
    assert [label for label in LABELS[:12] if Split(0.2).is_test(label)] == KNOWN_TEST_LABELS
