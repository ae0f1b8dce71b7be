"""Encodings: how one column becomes features, and several become rows of X."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import dask.array
import numpy as np
import pandas as pd
from dask.delayed import delayed
from numpy.typing import NDArray

from contexture.errors import CorpusError
from contexture.partition import Partition
from contexture.values import level_text, numbers

Matrix: TypeAlias = NDArray[np.float64]

MISSING = "<missing>"


@dataclass(frozen=True)
class Scaled:
    """A number or datetime column: z = ((x − centre) − offset) / scale.

    Parameters
    ----------
    name : str
        The column.
    kind : {"number", "datetime"}
        Datetimes are seconds since 1970.
    fill : float
        Stands for a missing value: the median where the corpus had missing values, else the mean.
    centre, offset : float
        Their sum is the mean; apart, the mean is exact even for 1e9 + something small.
    scale : float
        The population standard deviation.
    """

    name: str
    kind: Literal["number", "datetime"]
    fill: float
    centre: float
    offset: float
    scale: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The name of the one feature."""
        return (self.name,)

    def transform(self, column: pd.Series) -> Matrix:
        """Return the feature, of shape (r, 1)."""
        values = _as_numbers(column, self.name, self.kind)
        values = np.where(np.isnan(values), self.fill, values)
        return (((values - self.centre) - self.offset) / self.scale)[:, None]


@dataclass(frozen=True)
class OneHot:
    """A category column: one feature of 0 and 1 for each level.

    Parameters
    ----------
    name : str
        The column.
    levels : tuple of str
        By code point, or by value where the column is read as numbers.
    missing : bool
        Whether "missing" is a level of its own, the last one.
    numeric : bool
        Whether the column is read as numbers, which stand for classes.
    """

    name: str
    levels: tuple[str, ...]
    missing: bool
    numeric: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the features."""
        last = MISSING
        while last in self.levels:  # a text may say so itself
            last = f"<{last}>"
        return tuple(f"{self.name}={level}" for level in (*self.levels, *([last] * self.missing)))

    def transform(self, column: pd.Series) -> Matrix:
        """Return the features, of shape (r, levels); a level that was not fitted is all zeros."""
        texts = _as_levels(column, self)
        codes = pd.Index(self.levels, dtype=object).get_indexer(pd.Index(texts, dtype=object))
        if self.missing:
            codes = np.where(pd.isna(texts), len(self.levels), codes)
        return np.asarray(codes[:, None] == np.arange(len(self.columns)), dtype=np.float64)


Encoding: TypeAlias = Scaled | OneHot


def encode(df: pd.DataFrame, encodings: Sequence[Encoding]) -> Matrix:
    """Return the features of r rows side by side, of shape (r, D) and in C order."""
    return np.concatenate([each.transform(df[each.name]) for each in encodings], axis=1)


def encode_partitions(
    partitions: Sequence[Partition], encodings: Sequence[Encoding], by_columns: bool = False
) -> dask.array.Array:
    """Return the features of all rows lazily.

    Parameters
    ----------
    partitions : sequence of Partition
        In order; each becomes a chunk of rows.
    encodings : sequence of Scaled or OneHot
        In the order of the features.
    by_columns : bool
        Whether the chunks are in Fortran order: NumPy adds pairwise, and so accurately, only
        along the contiguous axis.

    Returns
    -------
    dask.array.Array of shape (n, D)
        float64.
    """
    read = partial(_encode_partition, encodings=encodings, by_columns=by_columns)
    width = sum(len(each.columns) for each in encodings)
    chunks = [
        _from_delayed(delayed(read)(part), shape=(part.rows, width), dtype=np.float64)
        for part in partitions
    ]
    stacked: dask.array.Array = _concatenate(chunks)
    return stacked


def _encode_partition(
    partition: Partition, encodings: Sequence[Encoding], by_columns: bool
) -> Matrix:
    matrix = encode(partition.load([each.name for each in encodings]), encodings)
    return np.asfortranarray(matrix) if by_columns else matrix


# Dask is only half typed.
_from_delayed: Any = dask.array.from_delayed
_concatenate: Any = dask.array.concatenate


def _as_numbers(column: pd.Series, name: str, kind: str) -> Matrix:
    try:
        if kind == "datetime":
            column = pd.to_datetime(column, utc=True).dt.tz_localize(None)
        values = numbers(column)
    except (ValueError, TypeError) as error:
        raise CorpusError(f"column {name!r} must hold {kind} values; {error}") from error
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise CorpusError(f"column {name!r} is infinite in row {infinite[0]}; correct the value")
    return values


def _as_levels(column: pd.Series, step: OneHot) -> NDArray[np.object_]:
    if step.numeric:
        values = _as_numbers(column, step.name, "number")
        unique, places = np.unique(values, return_inverse=True)
        texts = np.array([None if v != v else level_text(v) for v in unique], dtype=object)
        return texts[places]
    held, levels = column.astype(object), frozenset(step.levels)
    pairs = zip(held, held.isna(), strict=True)
    return np.array([None if m else _spelled(v, levels) for v, m in pairs], object)


def _spelled(value: object, levels: frozenset[str]) -> str:
    text = str(value)
    if text in levels or not isinstance(value, float):
        return text
    # Other rows of the column may all be numbers, or some missing: 7 is then read as 7.0.
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else text
