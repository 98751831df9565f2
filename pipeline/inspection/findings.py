"""What a verification has found: counts by predicate, the first offender of each, and one sentence about all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass
class _Count:
    """Of one predicate."""

    words: str
    unit: str
    num: int = 0
    num_broken: int = 0
    first: str = ""


class Findings:
    """Counts in the order in which predicates were first asked about."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}
        self._facts: list[str] = []

    def count(
        self, name: str, words: str, unit: str, is_broken: npt.NDArray[np.bool_], describe: Callable[[int], str]
    ) -> None:
        """Adds what was found of a predicate.

        Args:
            name: The predicate's.
            words: What those do that break it.
            unit: Plural of what is counted.
            is_broken: Which of them break it, bool, shape (n,).
            describe: Words for the one at a place; asked for the first offender alone.
        """
        found = self._counts.setdefault(name, _Count(words, unit))
        found.num += len(is_broken)
        if is_broken.any():
            found.first = found.first or describe(int(np.argmax(is_broken)))
            found.num_broken += int(np.count_nonzero(is_broken))

    def state(self, fact: str) -> None:
        """Adds something that is wrong with the generation as a whole."""
        self._facts.append(fact)

    def num_checked(self) -> dict[str, int]:
        """How many were asked, by predicate."""
        return {name: found.num for name, found in self._counts.items()}

    def sentence(self) -> str:
        """All that is wrong; empty if nothing is."""
        counted = [
            f"{found.num_broken:,} of {found.num:,} {found.unit} {found.words} (the first: {found.first})"
            for found in self._counts.values()
            if found.num_broken
        ]
        return "; ".join([*self._facts, *counted])
