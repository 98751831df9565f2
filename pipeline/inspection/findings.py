"""Findings of a check: counts by predicate, the first row that breaks each, and a summary in a sentence."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass
class _PredicateCount:
    """How many rows a predicate was checked on, and how many break it."""

    problem: str
    unit: str
    num: int = 0
    num_broken: int = 0
    first: str = ""


class Findings:
    """Counts by predicate, in the order of their first check, and problems of the generation as a whole."""

    def __init__(self) -> None:
        self._counts: dict[str, _PredicateCount] = {}
        self._problems: list[str] = []

    def count(
        self, name: str, problem: str, unit: str, is_broken: npt.NDArray[np.bool_], format_row: Callable[[int], str]
    ) -> None:
        """Adds the result of a predicate on some rows.

        Args:
            name: The predicate's.
            problem: What is wrong with rows that break it.
            unit: Plural of what is counted.
            is_broken: Which rows break it, bool, shape (n,).
            format_row: Formats the row at an index; called for the first broken row only.
        """
        count = self._counts.setdefault(name, _PredicateCount(problem, unit))
        count.num += len(is_broken)
        if is_broken.any():
            count.first = count.first or format_row(int(np.argmax(is_broken)))
            count.num_broken += int(np.count_nonzero(is_broken))

    def add_problem(self, problem: str) -> None:
        """Adds a problem of the generation as a whole."""
        self._problems.append(problem)

    def num_checked(self) -> dict[str, int]:
        """How many rows were checked, by predicate."""
        return {name: count.num for name, count in self._counts.items()}

    def summary(self) -> str:
        """All problems in a sentence; empty where there are none."""
        counted = [
            f"{count.num_broken:,} of {count.num:,} {count.unit} {count.problem} (the first: {count.first})"
            for count in self._counts.values()
            if count.num_broken
        ]
        return "; ".join([*self._problems, *counted])
