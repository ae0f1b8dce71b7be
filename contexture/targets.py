"""Targets of a corpus as they are read: partition by partition, their levels known beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from contexture.errors import CorpusError
from contexture.values import level_text, numbers

MOST_CLASSES = 10_000
"""A target with more is refused: such a column names things rather than sorts them, and what is
kept of each class has the size of the context values."""


@dataclass(frozen=True)
class TargetColumn:
    """A column that is predicted, and how its values become numbers or codes.

    Parameters
    ----------
    name : str
    kind : {"number", "class"}
    keys : tuple of str or float
        The classes as they stand in the column, sorted: text by code point, numbers by value.
    """

    name: str
    kind: Literal["number", "class"]
    keys: tuple[str | float, ...] = ()

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the classes; empty for numbers."""
        return tuple(map(level_text, self.keys))

    @property
    def functions(self) -> int:
        """How many functions on the inputs it is: itself, or one indicator a class."""
        return 1 if self.kind == "number" else len(self.keys)

    def values(self, column: pd.Series) -> np.ndarray[Any, Any]:
        """Give float64 with NaN for missing, or int64 codes into `levels` with -1 for missing.

        Parameters
        ----------
        column : Series
            Some rows, indexed by their number in the corpus.

        Raises
        ------
        CorpusError
            If a number is infinite, one that stands for a class as well.
        """
        if column.dtype == np.float64:
            infinite = np.flatnonzero(np.isinf(column.to_numpy()))
            if infinite.size:
                raise CorpusError(
                    f"target {self.name!r} is infinite in row {column.index[infinite[0]]}; correct "
                    "it, or leave it empty to mark it as missing"
                )
        if self.kind == "class":
            return pd.Index(self.keys).get_indexer(pd.Index(_plain(column))).astype(np.int64)
        return numbers(column)

    @staticmethod
    def observed(values: np.ndarray[Any, Any]) -> int:
        """How many of some values are there."""
        return int(np.sum(values >= 0 if values.dtype.kind == "i" else ~np.isnan(values)))


def find_keys(frames: Iterable[pd.DataFrame], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Collect the values of some columns, sorted, missing ones left out.

    Raises
    ------
    CorpusError
        If a column has more than `MOST_CLASSES`; the frames after that are not looked at.
    """
    seen: list[set[Any]] = [set() for _ in names]
    for frame in frames:
        for found, name in zip(seen, names, strict=True):
            found.update(_plain(frame[name].dropna().drop_duplicates()).tolist())
            if len(found) > MOST_CLASSES:
                raise CorpusError(
                    f"target {name!r} has more than {MOST_CLASSES:,} classes, and each of them is "
                    "scored; merge rare ones, or take it out of the targets (a column that names "
                    "the rows is their id)"
                )
    return [tuple(sorted(found)) for found in seen]


def _plain(column: pd.Series) -> np.ndarray[Any, Any]:
    """Floats as they are, text as objects with None for missing."""
    if column.dtype == np.float64:
        return column.to_numpy()
    return np.array([None if v is pd.NA or v != v else v for v in column.astype(object)], object)
