"""The official files of Labeled Faces in the Wild, as their LFW-README.txt describes them, and where their images are.

P: pairs. Folds count from 0, lines of a file from 1.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, Int64Array
from pipeline.corpus.line_reader import LineReader
from pipeline.errors import InputError


@dataclass(frozen=True, slots=True)
class NamedPair:
    """Two images: the n-th of a person, and the m-th of the same or of another one.

    Attributes:
        names: Whom they show.
        numbers: Which of the person's images, from 1.
        fold: The set that lists the pair.
        line: Where the file lists it.
    """

    names: tuple[str, str]
    numbers: tuple[int, int]
    fold: int
    line: int

    @property
    def stems(self) -> tuple[str, str]:
        """File names without suffix: ``George_W_Bush_0010``."""
        return stem_of(self.names[0], self.numbers[0]), stem_of(self.names[1], self.numbers[1])


@dataclass(frozen=True)
class PairsFile:
    """A file of pairs: pairs.txt (View 2), pairsDevTrain.txt or pairsDevTest.txt (View 1)."""

    path: Path
    num_folds: int
    pairs: tuple[NamedPair, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """A person of a set, the number of their images, and the line of the file that lists them."""

    name: str
    num_images: int
    line: int


@dataclass(frozen=True)
class PeopleFile:
    """A file of people: people.txt (View 2, a set for each fold), or one of View 1, with one set."""

    path: Path
    sets: tuple[tuple[Person, ...], ...]


def stem_of(name: str, number: int) -> str:
    """The name of a person's n-th image, without suffix."""
    return f"{name}_{number:04d}"


def read_pairs(path: Path) -> PairsFile:
    """Reads a file of pairs. Its first line holds the number of sets (only where there are several) and of pairs.

    Raises:
        InputError: It is not there, or a line is not what the format promises.
    """
    lines = LineReader(path)
    header = lines.take("the number of sets and of matched pairs in a set, or the latter alone")
    if len(header) not in (1, 2):
        raise lines.fault()
    num_folds = lines.count(header[0]) if len(header) == 2 else 1
    num_pairs = lines.count(header[-1])
    pairs: list[NamedPair] = []
    for fold in range(num_folds):
        place = f"of {num_pairs} in set {fold + 1} of {num_folds}"
        for k in range(1, num_pairs + 1):
            tokens = lines.take(f"NAME N1 N2, matched pair {k} {place}")
            if len(tokens) != 3 or tokens[1] == tokens[2]:
                raise lines.fault("of two images")
            numbers = lines.count(tokens[1]), lines.count(tokens[2])
            pairs.append(NamedPair((tokens[0], tokens[0]), numbers, fold, lines.number))
        for k in range(1, num_pairs + 1):
            tokens = lines.take(f"NAME1 N1 NAME2 N2, mismatched pair {k} {place}")
            if len(tokens) != 4 or tokens[0] == tokens[2]:
                raise lines.fault("of two people")
            numbers = lines.count(tokens[1]), lines.count(tokens[3])
            pairs.append(NamedPair((tokens[0], tokens[2]), numbers, fold, lines.number))
    lines.end()
    return PairsFile(path, num_folds, tuple(pairs))


def read_people(path: Path) -> PeopleFile:
    """Reads a file of people: the number of sets (left out in View 1, which has one), then each set after its size.

    Raises:
        InputError: It is not there, a line is not what the format promises, or a person is listed twice.
    """
    lines = LineReader(path)
    header = lines.take("the number of sets, or of people")
    if len(header) != 1:
        raise lines.fault()
    # A second number is the size of the first set; a name follows where there is but one set.
    num_sets = lines.count(header[0]) if len(lines.peek()) == 1 else None
    sets: list[tuple[Person, ...]] = []
    line_of: dict[str, int] = {}
    for number in range(1, (num_sets or 1) + 1):
        if num_sets is not None:
            header = lines.take(f"the number of people in set {number} of {num_sets}")
            if len(header) != 1:
                raise lines.fault()
        members = []
        size = lines.count(header[0])
        for k in range(1, size + 1):
            tokens = lines.take(f"NAME and the number of their images, person {k} of {size} in set {number}")
            if len(tokens) != 2:
                raise lines.fault()
            person = Person(tokens[0], lines.count(tokens[1]), lines.number)
            if person.name in line_of:
                raise InputError(
                    f"{path} lists {person.name} on line {line_of[person.name]} and again on line {person.line}, but "
                    "a person belongs to one set: take the file as published"
                )
            line_of[person.name] = person.line
            members.append(person)
        sets.append(tuple(members))
    lines.end()
    return PeopleFile(path, tuple(sets))


def find_pairs(file: PairsFile, paths: Sequence[str]) -> tuple[Int64Array, BoolArray, Int64Array]:
    """Finds the pairs' images in a corpus by the names of their files, in any folder and with any suffix.

    Args:
        file: The pairs.
        paths: Of each example of the corpus, in the order of ids: ``images_deepfunneled/NAME/NAME_0001.jpg``.

    Returns:
        Example ids, (P, 2) int64; whether both images are of one person, (P,) bool; and the fold, (P,) int64.

    Raises:
        InputError: An image of a pair is not in the corpus, or is there twice.
    """
    wanted = {stem for pair in file.pairs for stem in pair.stems}
    found: dict[str, list[int]] = defaultdict(list)
    for example_id, path in enumerate(paths):
        stem = _stem(path)
        if stem in wanted:
            found[stem].append(example_id)
    for pair in file.pairs:
        for name, stem in zip(pair.names, pair.stems, strict=True):
            if len(found[stem]) != 1:
                places = [paths[example_id] for example_id in found[stem]]
                raise _not_one(file.path, pair.line, name, stem, places, paths)
    return (
        np.array([[found[stem][0] for stem in pair.stems] for pair in file.pairs], dtype=np.int64),
        np.array([pair.names[0] == pair.names[1] for pair in file.pairs]),
        np.array([pair.fold for pair in file.pairs], dtype=np.int64),
    )


def find_people(
    file: PeopleFile, label_names: Sequence[str], labels_N: npt.NDArray[np.integer]
) -> tuple[Int64Array, ...]:
    """Finds the people among the labels of a corpus.

    Args:
        file: The people.
        label_names: Names of the labels; a label's code is its place here.
        labels_N: (N,) label code of each example.

    Returns:
        For each set the label codes of its people, int64.

    Raises:
        InputError: A person is no label of the corpus, or has another number of images there.
    """
    code_of = {name: code for code, name in enumerate(label_names)}
    counts = np.bincount(labels_N, minlength=len(label_names))
    for members in file.sets:
        for person in members:
            num_images = int(counts[code_of[person.name]]) if person.name in code_of else 0
            if num_images != person.num_images:
                raise InputError(
                    f"{file.path} line {person.line} promises {person.num_images} images of {person.name}, but the "
                    f"corpus has {num_images}: prepare it from all of LFW's folders, one a person"
                )
    return tuple(np.array([code_of[person.name] for person in members], dtype=np.int64) for members in file.sets)


def _stem(path: str) -> str:
    """The file's name without its last suffix; pathlib would take seconds for a million of them."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def _not_one(file: Path, line: int, name: str, stem: str, places: Sequence[str], paths: Sequence[str]) -> InputError:
    if places:
        return InputError(
            f"{file} line {line} names image {stem}, which the corpus holds {len(places)} times ({places[0]} and "
            f"{places[1]}): prepare it from one copy of LFW"
        )
    num_images = sum(_stem(path).rpartition("_")[0] == name for path in paths)
    return InputError(
        f"{file} line {line} names image {stem}, which is not in the corpus (it has {num_images} of {name}): "
        "prepare it from all of LFW"
    )
