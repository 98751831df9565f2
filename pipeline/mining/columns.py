"""Columns: what the tables of mining share, whose columns are arrays of equal length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Columns:
    """A table; its fields are arrays whose first axis is the rows."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Self:
        """Some of the rows, in the order given."""
        return type(self)(*(column[rows] for column in vars(self).values()))

    @classmethod
    def concat(cls, tables: Sequence[Self]) -> Self:
        """The rows of several tables, at least one, as one table."""
        columns: Any = zip(*(vars(table).values() for table in tables), strict=True)
        return cls(*map(np.concatenate, columns))
